package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// historyAttacks are on the history, by somebody who may read all of it.
func historyAttacks() (list []attack) {
	const s = "SERIAL_HISTORY"
	for _, call := range []string{
		"STREAM.DELETE." + s, "STREAM.PURGE." + s, "STREAM.UPDATE." + s, "STREAM.CREATE.MINE", "STREAM.MSG.DELETE." + s, "STREAM.SNAPSHOT." + s, "STREAM.RESTORE." + s,
		"STREAM.LEADER.STEPDOWN." + s, "STREAM.PEER.REMOVE." + s, "META.LEADER.STEPDOWN", "SERVER.REMOVE", "ACCOUNT.PURGE.TRAFFIC", "CONSUMER.PAUSE." + s + ".victim",
		"STREAM.MSG.GET." + s, "DIRECT.GET." + s,
	} {
		request := map[string]string{
			"STREAM.UPDATE." + s: `{"name":"SERIAL_HISTORY","subjects":["mine"]}`, "STREAM.CREATE.MINE": `{"name":"MINE","subjects":["serial.gps.tx"]}`,
			"STREAM.MSG.DELETE." + s: `{"seq":1}`, "STREAM.MSG.GET." + s: `{"seq":1}`, "DIRECT.GET." + s: `{"seq":1}`, "STREAM.SNAPSHOT." + s: `{"deliver_subject":"x"}`,
		}[call]
		list = append(list, asks("tap", "calls `$JS.API."+call+"`", "$JS.API."+call, request))
	}
	for _, deliver := range []string{"serial.gps.tx", "serial.gps.rx", "serial.gps.rx.again", "serial.supervisor.log.w", "$JS.API.STREAM.PURGE." + s, "_INBOX_supervisor-traffic.x.*", "$GATE.x.STREAM"} {
		list = append(list, asks("tap", "makes a consumer that delivers to `"+deliver+"`", "$JS.API.CONSUMER.CREATE."+s,
			fmt.Sprintf(`{"stream_name":%q,"config":{"ack_policy":"none","deliver_subject":%q}}`, s, deliver)))
	}
	return append(list,
		attack{"tap", "makes consumers without end", func(a *arena) error {
			js, err := jetstream.New(a.clients["tap"])
			if err != nil {
				return err
			}
			for n := range 2000 {
				_, err := js.CreateConsumer(a.t.Context(), s, jetstream.ConsumerConfig{Name: fmt.Sprint("endless", n), AckPolicy: jetstream.AckNonePolicy, InactiveThreshold: time.Hour})
				if err != nil {
					for i := range n {
						if err := js.DeleteConsumer(a.t.Context(), s, fmt.Sprint("endless", i)); err != nil {
							return err
						}
					}
					return nil
				}
			}
			return fmt.Errorf("it has 2000")
		}},
	)
}

// narrowedAttacks are on what of the history is others', by somebody who may read that of one port.
func narrowedAttacks() []attack {
	const who, create, s = "lab", "$JS.API.CONSUMER.CREATE.SERIAL_HISTORY", "SERIAL_HISTORY"
	consumer := func(what, config string) attack {
		return asks(who, what, create, `{"stream_name":"SERIAL_HISTORY","config":`+config+`}`)
	}
	list := []attack{
		hears(who, "listens to another port", "serial.other.rx", "serial.other.*", "serial.*.rx", "serial.*.state", "serial.>"),
		consumer("reads the history without a filter", `{"ack_policy":"none"}`),
		consumer("reads the history of another port", `{"ack_policy":"none","filter_subject":"serial.other.>"}`),
		consumer("reads the history of all ports", `{"ack_policy":"none","filter_subject":"serial.*.rx"}`),
		consumer("reads the history of its port and of another", `{"ack_policy":"none","filter_subjects":["serial.gps.rx","serial.other.state"]}`),
		asks(who, "reads the history of another port, with its own in the subject", create+".x1.serial.gps.rx", `{"stream_name":"SERIAL_HISTORY","config":{"name":"x1","ack_policy":"none","filter_subject":"serial.other.>"}}`),
		asks(who, "reads the history without a filter, with its port in the subject", create+".x2.serial.gps.rx", `{"stream_name":"SERIAL_HISTORY","config":{"name":"x2","ack_policy":"none"}}`),
		asks(who, "reads another port by the old call", "$JS.API.CONSUMER.DURABLE.CREATE.SERIAL_HISTORY.x3", `{"stream_name":"SERIAL_HISTORY","config":{"durable_name":"x3","ack_policy":"explicit","filter_subject":"serial.other.>"}}`),
		asks(who, "reads another port by a key that is there twice, in two cases", create+".x4", `{"stream_name":"SERIAL_HISTORY","config":{"name":"x4","ack_policy":"none","filter_subjects":["serial.other.>"],"FILTER_SUBJECTS":["serial.gps.rx"],"filter_subject":"","Filter_Subject":"serial.other.state"}}`),
		{who, "has a consumer deliver to where all hear it, by a key in another case", func(a *arena) error {
			nc := a.clients[who]
			request := `{"stream_name":"SERIAL_HISTORY","config":{"name":"x5","ack_policy":"none","filter_subjects":["serial.gps.>"],"deliver_subject":"serial.supervisor.log.forged","DELIVER_SUBJECT":""}}`
			sub, err := nc.SubscribeSync("serial.supervisor.log.forged")
			if err != nil {
				return err
			}
			defer func() { _ = sub.Unsubscribe() }()
			if _, err := nc.Request(create+".x5", []byte(request), patience); err != nil {
				return err
			}
			a.after(20)
			if n, _, _ := sub.Pending(); n > 0 {
				return fmt.Errorf("it hears %d of its frames there", n)
			}
			_, err = nc.Request("$JS.API.CONSUMER.DELETE.SERIAL_HISTORY.x5", nil, patience)
			return err
		}},
		asks(who, "makes a consumer with ten thousand filters", create+".x6", `{"stream_name":"SERIAL_HISTORY","config":{"name":"x6","filter_subjects":["`+strings.Repeat(`serial.gps.a","`, 10_000)+`serial.gps.b"]}}`),
		{who, "claims names that others make consumers by", func(a *arena) error {
			stop, stopped := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(stopped)
				bad := []byte(`{"stream_name":"SERIAL_HISTORY","config":{"durable_name":"panel","filter_subject":"serial.gps.rx","deliver_policy":"by_start_sequence","description":"` + strings.Repeat("x", 8000) + `"}}`)
				for {
					select {
					case <-stop:
						return
					default:
						_, _ = a.clients[who].Request("$JS.API.CONSUMER.DURABLE.CREATE.SERIAL_HISTORY.panel", bad, patience)
					}
				}
			}()
			js, err := jetstream.New(a.clients["rival"])
			for range 50 {
				var c jetstream.Consumer
				if c, err = js.CreateConsumer(a.t.Context(), s, jetstream.ConsumerConfig{Durable: "panel", FilterSubject: "serial.other.state"}); err != nil {
					if strings.Contains(err.Error(), "taken") {
						continue // for a moment, by a name that is the other's to try
					}
					break
				}
				if _, err = c.Info(a.t.Context()); err == nil {
					err = js.DeleteConsumer(a.t.Context(), s, "panel")
				}
				if err != nil {
					break
				}
			}
			close(stop)
			<-stopped
			if err != nil && strings.Contains(err.Error(), "taken") {
				err = nil
			}
			return err
		}},
		{who, "acknowledges what there is not, and keeps others' acknowledgements waiting", func(a *arena) error {
			nc := a.clients[who]
			js, err := jetstream.New(nc)
			if err != nil {
				return err
			}
			if _, err := js.CreateConsumer(a.t.Context(), s, jetstream.ConsumerConfig{Durable: "mine", FilterSubject: "serial.gps.rx"}); err != nil {
				return err
			}
			defer func() { _ = js.DeleteConsumer(a.t.Context(), s, "mine") }()
			for range 200 {
				for _, data := range []string{"", `+NXT {"batch":1,"expires":60000000000}`} {
					if err := nc.PublishRequest("$JS.ACK.SERIAL_HISTORY.mine.1.1.1.1.0", nc.NewInbox(), []byte(data)); err != nil {
						return err
					}
				}
			}
			if err := nc.Flush(); err != nil {
				return err
			}
			others, err := jetstream.New(a.clients["tap"])
			if err != nil {
				return err
			}
			c, err := others.CreateConsumer(a.t.Context(), s, jetstream.ConsumerConfig{FilterSubject: "serial.gps.rx"})
			if err != nil {
				return err
			}
			m, err := c.Next()
			if err != nil {
				return err
			}
			begun := time.Now()
			if err := m.DoubleAck(a.t.Context()); err != nil || time.Since(begun) > 3*time.Second {
				return fmt.Errorf("another's took %s: %w", time.Since(begun), err)
			}
			return nil
		}},
		{who, "changes its consumer to another port", func(a *arena) error {
			js, err := jetstream.New(a.clients[who])
			if err != nil {
				return err
			}
			if _, err := js.CreateConsumer(a.t.Context(), s, jetstream.ConsumerConfig{Durable: "mine", FilterSubject: "serial.gps.state"}); err != nil {
				return fmt.Errorf("it cannot make one of its own: %w", err)
			}
			defer func() { _ = js.DeleteConsumer(a.t.Context(), s, "mine") }()
			if _, err := js.UpdateConsumer(a.t.Context(), s, jetstream.ConsumerConfig{Durable: "mine", FilterSubject: "serial.other.state"}); err == nil {
				return fmt.Errorf("it was changed")
			}
			return nil
		}},
		{who, "asks the history for the names of other ports", func(a *arena) error {
			m, err := a.clients[who].Request("$JS.API.STREAM.INFO.SERIAL_HISTORY", []byte(`{"subjects_filter":">"}`), patience)
			if err != nil {
				return err
			}
			if strings.Contains(string(m.Data), "serial.other") {
				return fmt.Errorf("it is told %s", m.Data)
			}
			return nil
		}},
	}
	victim := func(what string, try func(a *arena, js jetstream.JetStream, victim jetstream.Consumer) error) {
		list = append(list, attack{who, what, func(a *arena) error {
			js, err := jetstream.New(a.clients["rival"])
			if err != nil {
				return err
			}
			c, err := js.CreateOrUpdateConsumer(a.t.Context(), s, jetstream.ConsumerConfig{Durable: "victim", FilterSubject: "serial.other.state", AckWait: patience * 100})
			if err != nil {
				return fmt.Errorf("the other cannot make a consumer: %w", err)
			}
			defer func() { _ = js.DeleteConsumer(a.t.Context(), s, "victim") }()
			return try(a, js, c)
		}})
	}
	victim("takes messages from another's consumer", func(a *arena, _ jetstream.JetStream, c jetstream.Consumer) error {
		err := a.ask(who, &nats.Msg{Subject: "$JS.API.CONSUMER.MSG.NEXT.SERIAL_HISTORY.victim", Data: []byte(`{"batch":1,"no_wait":true}`)})
		return errors.Join(err, a.untouched(c))
	})
	victim("looks at another's consumer", func(a *arena, _ jetstream.JetStream, _ jetstream.Consumer) error {
		return a.ask(who, &nats.Msg{Subject: "$JS.API.CONSUMER.INFO.SERIAL_HISTORY.victim"})
	})
	victim("deletes another's consumer", func(a *arena, _ jetstream.JetStream, c jetstream.Consumer) error {
		err := a.ask(who, &nats.Msg{Subject: "$JS.API.CONSUMER.DELETE.SERIAL_HISTORY.victim"})
		return errors.Join(err, a.untouched(c))
	})
	victim("deletes another's consumer by the subject for an answer", func(a *arena, _ jetstream.JetStream, c jetstream.Consumer) error {
		err := a.clients[who].PublishRequest("serial.supervisor.status", "$JS.API.CONSUMER.DELETE.SERIAL_HISTORY.victim", nil)
		a.after(3)
		return errors.Join(err, a.untouched(c))
	})
	victim("makes a consumer by the name of another's", func(a *arena, _ jetstream.JetStream, c jetstream.Consumer) error {
		err := a.ask(who, &nats.Msg{Subject: create + ".victim", Data: []byte(`{"stream_name":"SERIAL_HISTORY","config":{"durable_name":"victim","filter_subject":"serial.gps.rx"}}`)})
		return errors.Join(err, a.untouched(c))
	})
	victim("acknowledges what another has got", func(a *arena, _ jetstream.JetStream, c jetstream.Consumer) error {
		m, err := c.Next()
		if err != nil {
			return err
		}
		if err := a.clients[who].Publish(m.Reply(), nil); err != nil {
			return err
		}
		if err := a.ask(who, &nats.Msg{Subject: m.Reply()}); err != nil {
			return err
		}
		info, err := c.Info(a.t.Context())
		if err == nil && info.NumAckPending != 1 {
			err = fmt.Errorf("%d messages wait for an acknowledgement, want 1", info.NumAckPending)
		}
		return err
	})
	victim("takes messages from another's consumer by the subject for an answer to its own", func(a *arena, _ jetstream.JetStream, c jetstream.Consumer) error {
		js, err := jetstream.New(a.clients[who])
		if err != nil {
			return err
		}
		if _, err := js.CreateConsumer(a.t.Context(), s, jetstream.ConsumerConfig{Durable: "mine", FilterSubject: "serial.gps.rx"}); err != nil {
			return err
		}
		defer func() { _ = js.DeleteConsumer(a.t.Context(), s, "mine") }()
		for _, subject := range []string{"$JS.API.CONSUMER.MSG.NEXT.SERIAL_HISTORY.victim", "serial.gps.rx", "serial.other.tx"} {
			if err := a.clients[who].PublishRequest("$JS.API.CONSUMER.MSG.NEXT.SERIAL_HISTORY.mine", subject, []byte(`{"batch":10}`)); err != nil {
				return err
			}
		}
		a.after(5)
		return a.untouched(c)
	})
	return list
}

// untouched returns an error unless a consumer of a stream with something for it is as it was made.
func (a *arena) untouched(c jetstream.Consumer) error {
	info, err := c.Info(a.t.Context())
	if err != nil {
		return fmt.Errorf("it is gone: %w", err)
	}
	if info.NumPending == 0 || info.Delivered.Consumer > 0 || info.Config.FilterSubject != "serial.other.state" {
		text, _ := json.Marshal(info)
		return fmt.Errorf("it was touched: %s", text)
	}
	return nil
}
