package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// publishes is an attempt to publish, with a subject for the answer if that is not empty.
func publishes(who, what, subject, reply, data string) attack {
	return attack{who, what, func(a *arena) error {
		nc := a.clients[who]
		if err := nc.PublishRequest(subject, reply, []byte(data)); err != nil {
			return nil
		}
		return nc.FlushTimeout(patience)
	}}
}

// hears is an attempt to hear what one may not.
func hears(who, what string, subjects ...string) attack {
	return attack{who, what, func(a *arena) error {
		var heard []string
		for _, subject := range subjects {
			sub, err := a.clients[who].SubscribeSync(subject)
			if err != nil {
				continue
			}
			defer func() { _ = sub.Unsubscribe() }()
			if err := a.clients[who].FlushTimeout(patience); err != nil {
				return err
			}
			a.after(3)
			if _, err := a.clients["send"].Request("serial.supervisor.status", nil, patience); err != nil { // something to overhear
				return fmt.Errorf("the gateway does not answer others: %w", err)
			}
			for {
				m, err := sub.NextMsg(time.Millisecond)
				if err != nil {
					break
				}
				heard = append(heard, fmt.Sprintf("%.60q on %s", m.Data, m.Subject))
			}
		}
		if len(heard) > 0 {
			return fmt.Errorf("%s hears %s", who, strings.Join(heard, ", "))
		}
		return nil
	}}
}

// asks is an attempt to get an answer that is not a refusal.
func asks(who, what, subject, request string) attack {
	return attack{who, what, func(a *arena) error { return a.ask(who, &nats.Msg{Subject: subject, Data: []byte(request)}) }}
}

// ask returns an error if there is such an answer.
func (a *arena) ask(who string, m *nats.Msg) error {
	nc := a.clients[who]
	inbox, err := nc.SubscribeSync(nc.NewInbox())
	if err != nil {
		return err
	}
	defer func() { _ = inbox.Unsubscribe() }()
	m.Reply = inbox.Subject
	if err := nc.PublishMsg(m); err != nil {
		return nil
	}
	if err := nc.FlushTimeout(patience); err != nil {
		return err
	}
	a.after(5)
	for {
		answer, err := inbox.NextMsg(time.Millisecond)
		if err != nil {
			return nil
		}
		if !isRefusal(answer) {
			return fmt.Errorf("%s is answered %.200q %v", m.Subject, answer.Data, answer.Header)
		}
	}
}

// isRefusal says whether an answer gives nothing away.
func isRefusal(m *nats.Msg) bool {
	var body struct {
		Error json.RawMessage `json:"error"`
	}
	switch status := m.Header.Get("Status"); {
	case m.Header.Get("Nats-Service-Error") != "":
		return true
	case status == "503", status == "404", status == "408", status == "409", status == "400":
		return true
	}
	return json.Unmarshal(m.Data, &body) == nil && len(body.Error) > 0
}

// tapsAttacks are those of somebody who may only watch.
func tapsAttacks() (list []attack) {
	for _, who := range []string{"tap", "worker"} {
		for _, verb := range []string{"tx", "request", "lease", "control"} {
			list = append(list, publishes(who, "publishes on `serial.gps."+verb+"`", "serial.gps."+verb, "", map[string]string{
				"tx": "ATTACK", "request": "ATTACK", "lease": `{"action": "acquire"}`, "control": `{"baud": 1200}`,
			}[verb]))
		}
		for _, kind := range []string{"rx", "rx.again", "sent", "state", "expired"} {
			list = append(list, publishes(who, "forges `serial.gps."+kind+"`", "serial.gps."+kind, "", "ATTACK"))
		}
		for _, order := range []string{"worker.w.stop", "reload", "upgrade"} {
			list = append(list, publishes(who, "orders `serial.supervisor."+order+"`", "serial.supervisor."+order, "", ""))
		}
		list = append(list, publishes(who, "forges a worker's line on `serial.supervisor.log.w`", "serial.supervisor.log.w", "", "ATTACK"))
		// What the server says on a subject for the answer is said with nobody's rights but the server's.
		for _, question := range []string{"serial.supervisor.status", "$JS.API.INFO", "$JS.API.STREAM.INFO.SERIAL_HISTORY", "$JS.API.CONSUMER.CREATE.SERIAL_HISTORY"} {
			for _, subject := range []string{"serial.gps.tx", "serial.gps.rx", "serial.gps.rx.again", "serial.supervisor.worker.w.stop", "$JS.API.STREAM.PURGE.SERIAL_HISTORY"} {
				list = append(list, publishes(who, "asks `"+question+"` for an answer on `"+subject+"`", question, subject, ""))
			}
		}
		list = append(list,
			hears(who, "listens to everything, to the system and to JetStream", ">", "*.>", "$SYS.>", "$JS.>", "$GATE.>", "$TO.>", "$ASK.>"),
			hears(who, "listens to others' questions, frames and answers", "serial.*.tx", "serial.*.request", "serial.*.lease", "_INBOX_send.>", "_INBOX_gps_writer.>", "_R_.>", "_INBOX.>"),
			asks(who, "asks the micro service for what it has", "$SRV.INFO.serialvisor", ""),
			asks(who, "asks the system account for its connections", "$SYS.REQ.SERVER.PING.CONNZ", ""),
		)
	}
	return list
}

// sendersAttacks are those of somebody who may send to one port.
func sendersAttacks() []attack {
	const who = "robot"
	list := []attack{
		publishes(who, "sends to another port", "serial.other.tx", "", "ATTACK"),
		asks(who, "requests from another port", "serial.other.request", "ATTACK"),
		asks(who, "takes a lease of another port", "serial.other.lease", `{"action": "acquire"}`),
		asks(who, "changes the line of another port", "serial.other.control", `{"baud": 1200}`),
		hears(who, "listens to another port", "serial.other.rx", "serial.other.>", "serial.*.rx", "serial.>"),
		hears(who, "listens to others' frames for its own port", "serial.gps.tx", "serial.gps.request", "serial.gps.*"),
		asks(who, "reads the history", "$JS.API.CONSUMER.CREATE.SERIAL_HISTORY", `{"stream_name":"SERIAL_HISTORY","config":{"ack_policy":"none"}}`),
		asks(who, "reads the queue by a consumer of its own", "$JS.API.CONSUMER.CREATE.SERIAL_QUEUE", `{"stream_name":"SERIAL_QUEUE","config":{"ack_policy":"none"}}`),
		asks(who, "takes frames from the writer's consumer", "$JS.API.CONSUMER.MSG.NEXT.SERIAL_QUEUE.gps", ""),
		publishes(who, "acknowledges a frame in the writer's place", "$JS.ACK.SERIAL_QUEUE.gps.1.1.1.1.0", "", ""),
		asks(who, "empties the queue", "$JS.API.STREAM.PURGE.SERIAL_QUEUE", ""),
		asks(who, "orders a reload", "serial.supervisor.reload", ""),
		publishes(who, "forges `serial.gps.sent`", "serial.gps.sent", "", "ATTACK"),
		publishes(who, "forges `serial.gps.leased`", "serial.gps.leased", "", "ATTACK"),
		{who, "sends a frame that asks the stream to throw all others away", func(a *arena) error {
			return a.clients[who].PublishMsg(&nats.Msg{Subject: "serial.gps.tx", Data: []byte(legal), Header: nats.Header{"Nats-Rollup": {"all"}}})
		}},
		{who, "says in a header that it is the supervisor", func(a *arena) error {
			return a.ask(who, &nats.Msg{Subject: "serial.other.tx", Data: []byte("ATTACK"), Header: nats.Header{"Nats-Request-Info": {`{"acc":"CONTROL","user":"supervisor-control","id":1}`}}})
		}},
	}
	for _, subject := range []string{"serial.other.tx", "serial.other.request", "serial.gps.rx", "serial.supervisor.reload", "$JS.API.STREAM.PURGE.SERIAL_QUEUE", "$JS.API.CONSUMER.DELETE.SERIAL_QUEUE.gps"} {
		list = append(list,
			publishes(who, "sends to its port, for an acknowledgement on `"+subject+"`", "serial.gps.tx", subject, legal),
			publishes(who, "asks for the status, for an answer on `"+subject+"`", "serial.supervisor.status", subject, ""),
			publishes(who, "asks for a lease, for an answer on `"+subject+"`", "serial.gps.lease", subject, `{"action": "show"}`),
		)
	}
	return list
}
