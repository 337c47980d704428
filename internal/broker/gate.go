package broker

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// A gate stands before the history. JetStream's own rights end at the names of consumers: whoever may read from one may read from
// all whose names he knows, and where a consumer delivers is for him to say who makes it. So consumers have owners here. The
// gate sees what is asked about them and passes on what their owners may; the messages themselves do not pass it.
type gate struct {
	history  string
	root     string     // of the gateway's subjects
	changing sync.Mutex // held while a consumer is made or deleted, so that nobody comes in between

	mu      sync.Mutex        // guards all below
	owners  map[string]owned  // the consumers that there are, by name
	readers map[uint64]reader // connections of those who may read, by number
	acking  map[string]int    // acknowledgements that wait for an answer, by user
}

// reader is a connection of a user who may read the history.
type reader struct {
	client server.ClientAuthentication
	user   Grant
	own    []string // consumers that only this connection reads from
}

const (
	// ownerKey is where a consumer's metadata names its owner.
	ownerKey = "serialvisor_user"
	// mostConsumers bounds how many consumers a user may have at a time, and mostLasting how many of these all of its connections
	// may read from.
	mostConsumers, mostLasting = 512, 32
	// mostFilters and mostConfig bound what describes one: the server compares each filter with each other.
	mostFilters, mostConfig = 64, 16 << 10
	// mostPending, mostPulls and mostBatch bound what one may have under way.
	mostPending, mostPulls, mostBatch = 1000, 512, 10_000
	// mostAcking bounds how many acknowledgements of a user may wait for an answer.
	mostAcking = 64
	// gateLimit is how long JetStream may take for what the gate asks it.
	gateLimit = 4 * time.Second
)

// way is a subject on which a home asks for the history, and where that goes in TRAFFIC.
type way struct {
	from, to string
	shared   bool // with who asks, so that the gate knows the connection
	each     bool // may be asked for each consumer alone, see readers
}

// ways are all of a home's. Those that do not lead to the gate are for everybody alike.
func (b *Broker) ways(home string) []way {
	s, gate := b.gate.history, gated+home
	next := "$JS.API.CONSUMER.MSG.NEXT." + s + ".*"
	list := []way{
		{from: "$JS.API.CONSUMER.CREATE." + s, to: gate + ".CREATE", shared: true},
		{from: "$JS.API.CONSUMER.CREATE." + s + ".>", to: gate + ".CREATE.>", shared: true},
		{from: "$JS.API.CONSUMER.DURABLE.CREATE." + s + ".*", to: gate + ".DURABLE.*", shared: true},
		{from: "$JS.API.CONSUMER.INFO." + s + ".*", to: gate + ".INFO.*"},
		{from: "$JS.API.CONSUMER.DELETE." + s + ".*", to: gate + ".DELETE.*"},
		{from: "$JS.API.STREAM.INFO." + s, to: gate + ".STREAM"},
		{from: "$JS.ACK." + s + ".>", to: gate + ".ACK.>"},
		{from: "$JS.FC." + s + ".>", to: gate + ".FC.>"},
		{from: next, to: next, each: true},
	}
	for _, subject := range historyAPI {
		list = append(list, way{from: subject, to: subject})
	}
	return list
}

// historyAPI is what anybody who may read the history may ask of the server without the gate.
var historyAPI = []string{accountInfo, "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST"}

// openGate leads from a home to the history.
func (b *Broker) openGate(home, traffic *server.Account) error {
	for _, w := range b.ways(home.Name) {
		err := home.AddServiceImport(traffic, w.from, w.to)
		if err == nil && w.shared {
			err = home.SetServiceImportSharing(traffic, w.to, true)
		}
		if err != nil {
			return fmt.Errorf("import %s as %s: %w", w.from, w.to, err)
		}
	}
	return home.AddMappedStreamImport(traffic, delivered+home.Name+".>", ">")
}

// readHistory is what a client may ask of the server to read the history, by the consumers that it has.
func (b *Broker) readHistory() (subjects []string) {
	for _, w := range b.ways("") {
		if !w.each {
			subjects = append(subjects, w.from)
		}
	}
	return subjects
}

// keepGate begins to answer at the gate.
func (b *Broker) keepGate() error {
	for subject, handle := range map[string]nats.MsgHandler{
		gated + "*.*":         b.atGate,
		gated + "*.CREATE.>":  b.atGate,
		gated + "*.DURABLE.*": b.atGate,
		gated + "*.INFO.*":    b.atGate,
		gated + "*.DELETE.*":  b.atGate,
		gated + "*.ACK.>":     b.ackAtGate,
		gated + "*.FC.>":      b.ackAtGate,
		"$JS.EVENT.ADVISORY.CONSUMER.DELETED." + b.gate.history + ".*": b.consumerGone,
	} {
		if _, err := b.traffic.Subscribe(subject, handle); err != nil {
			return fmt.Errorf("broker: %w", err)
		}
	}
	return b.traffic.FlushTimeout(flushLimit)
}

// atGate answers what is asked about consumers, and about the history itself.
func (b *Broker) atGate(m *nats.Msg) {
	home, what, _ := strings.Cut(strings.TrimPrefix(m.Subject, gated), ".")
	what, name, _ := strings.Cut(what, ".")
	user, known := b.owner(home)
	if !known {
		return // it is not from a home
	}
	answer, err := b.answerAtGate(m, home, user, what, name)
	if err != nil {
		answer = refusalOf(err)
	}
	// Where it delivers is known to its maker by another name.
	answer = []byte(strings.ReplaceAll(string(answer), delivered+home+".", ""))
	if err := m.Respond(answer); err != nil && !errors.Is(err, nats.ErrMsgNoReply) {
		b.opts.Log.Debug("a request about the history was not answered", "user", user.Name, "error", err)
	}
}

func (b *Broker) answerAtGate(m *nats.Msg, home string, user Grant, what, name string) ([]byte, error) {
	if b.opts.History.Off {
		return nil, refused{404, 10059, "stream not found"}
	}
	switch what {
	case "CREATE", "DURABLE":
		return b.makeConsumer(m, home, user, name)
	case "STREAM":
		// Its subjects would tell which ports there are.
		request := m.Data
		if len(user.Ports) > 0 {
			request = nil
		}
		return b.askHistory("STREAM.INFO."+b.gate.history, request)
	case "INFO":
		if b.gate.owner(name) != user.Name {
			return nil, errNoConsumer
		}
		return b.askHistory("CONSUMER.INFO."+b.gate.history+"."+name, nil)
	case "DELETE":
		return b.deleteConsumer(user, name)
	}
	return nil, refused{400, 10025, "the gate does not know " + what}
}

// askHistory passes a request on to JetStream.
func (b *Broker) askHistory(what string, request []byte) ([]byte, error) {
	m, err := b.traffic.Request("$JS.API."+what, request, gateLimit)
	if err != nil {
		return nil, refused{503, 10008, "the history does not answer: " + err.Error()}
	}
	return m.Data, nil
}

// errNoConsumer is for consumers of others, too: whose they are is nobody's business.
var errNoConsumer = refused{404, 10014, "consumer not found"}

// refused is an error in JetStream's form.
type refused struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (r refused) Error() string { return r.Description }

func refusalOf(err error) []byte {
	r := refused{500, 10000, err.Error()}
	errors.As(err, &r)
	text, _ := json.Marshal(struct { // of plain data
		Error refused `json:"error"`
	}{r})
	return text
}

// ackAtGate passes acknowledgements on to consumers of their own.
func (b *Broker) ackAtGate(m *nats.Msg) {
	home, what, _ := strings.Cut(strings.TrimPrefix(m.Subject, gated), ".")
	kind, rest, _ := strings.Cut(what, ".")
	name, _, _ := strings.Cut(rest, ".")
	user, known := b.owner(home)
	if !known || b.gate.owner(name) != user.Name {
		return
	}
	subject := "$JS." + kind + "." + b.gate.history + "." + rest
	if m.Reply == "" {
		_ = b.traffic.Publish(subject, m.Data) // fails with the connection, and then the consumer is asked again
		return
	}
	// One that is wrong is not answered, and must not keep others waiting.
	if bytes.HasPrefix(m.Data, []byte("+NXT")) || !b.gate.beginAck(user.Name) {
		return
	}
	b.bridges.Go(func() {
		defer b.gate.endAck(user.Name)
		if answer, err := b.traffic.Request(subject, m.Data, gateLimit); err == nil {
			_ = m.Respond(answer.Data)
		}
	})
}

func (g *gate) beginAck(user string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.acking == nil {
		g.acking = map[string]int{}
	}
	if g.acking[user] >= mostAcking {
		return false
	}
	g.acking[user]++
	return true
}

func (g *gate) endAck(user string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.acking[user]--; g.acking[user] == 0 {
		delete(g.acking, user)
	}
}

func isRefusal(answer []byte) bool {
	var a struct {
		Error *refused `json:"error"`
	}
	return json.Unmarshal(answer, &a) != nil || a.Error != nil
}

func firstOf(names ...string) string {
	for _, n := range names {
		if n != "" {
			return n
		}
	}
	return ""
}
