package broker

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// A gate stands before the history. JetStream's own rights end at the names of consumers: whoever may read from one may read from
// all whose names he knows, and where a consumer delivers is for him to say who makes it. So consumers have owners here. The
// gate sees what is asked about them and passes on what their owners may; the messages themselves do not pass it.
type gate struct {
	history string
	mu      sync.Mutex        // guards all below
	owners  map[string]owned  // the consumers that there are, by name
	root    string            // of the gateway's subjects
	readers map[uint64]reader // connections of those who may read, by number
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
	// mostConsumers bounds how many consumers a user may have at a time.
	mostConsumers = 512
	// gateLimit is how long JetStream may take for what the gate asks it.
	gateLimit = 4 * time.Second
)

// historyAPI is what anybody who may read the history may ask of the server without the gate.
func historyAPI() []string {
	return []string{accountInfo, "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST"}
}

// openGate leads from a home to the history.
func (b *Broker) openGate(home, traffic *server.Account) error {
	s, way := b.subjects.History(), gated+home.Name
	for from, to := range map[string]string{
		"$JS.API.CONSUMER.CREATE." + s:                way + ".CREATE",
		"$JS.API.CONSUMER.CREATE." + s + ".>":         way + ".CREATE.>",
		"$JS.API.CONSUMER.DURABLE.CREATE." + s + ".*": way + ".DURABLE.*",
		"$JS.API.CONSUMER.INFO." + s + ".*":           way + ".INFO.*",
		"$JS.API.CONSUMER.DELETE." + s + ".*":         way + ".DELETE.*",
		"$JS.API.STREAM.INFO." + s:                    way + ".STREAM",
		"$JS.ACK." + s + ".>":                         way + ".ACK.>",
		"$JS.FC." + s + ".>":                          way + ".FC.>",
		"$JS.API.CONSUMER.MSG.NEXT." + s + ".*":       "$JS.API.CONSUMER.MSG.NEXT." + s + ".*",
		accountInfo:                                   accountInfo,
		"$JS.API.STREAM.NAMES":                        "$JS.API.STREAM.NAMES",
		"$JS.API.STREAM.LIST":                         "$JS.API.STREAM.LIST",
	} {
		if err := home.AddServiceImport(traffic, from, to); err != nil {
			return fmt.Errorf("import %s as %s: %w", from, to, err)
		}
		if strings.HasPrefix(to, way+".CREATE") || strings.HasPrefix(to, way+".DURABLE") {
			if err := home.SetServiceImportSharing(traffic, to, true); err != nil {
				return fmt.Errorf("import %s as %s: %w", from, to, err)
			}
		}
	}
	return home.AddMappedStreamImport(traffic, delivered+home.Name+".>", ">")
}

// readHistory is what a client may ask of the server to read the history.
func (b *Broker) readHistory() []string {
	s := b.subjects.History()
	return append(historyAPI(), "$JS.API.STREAM.INFO."+s, "$JS.API.CONSUMER.CREATE."+s, "$JS.API.CONSUMER.CREATE."+s+".>", "$JS.API.CONSUMER.DURABLE.CREATE."+s+".*",
		"$JS.API.CONSUMER.INFO."+s+".*", "$JS.API.CONSUMER.DELETE."+s+".*", "$JS.ACK."+s+".>", "$JS.FC."+s+".>")
}

// keepGate begins to answer at the gate, and learns whose the consumers are that there are.
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
	case "INFO", "DELETE":
		if b.gate.owner(name) != user.Name {
			return nil, refused{404, 10014, "consumer not found"} // whose it is is nobody's business
		}
		return b.askHistory("CONSUMER."+what+"."+b.gate.history+"."+name, m.Data)
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
	if answer, err := b.traffic.Request(subject, m.Data, gateLimit); err == nil {
		_ = m.Respond(answer.Data)
	}
}

// makeConsumer makes a consumer that its maker alone may read from.
func (b *Broker) makeConsumer(m *nats.Msg, home string, user Grant, path string) ([]byte, error) {
	var request struct {
		Stream string                     `json:"stream_name"`
		Config map[string]json.RawMessage `json:"config"`
		Action string                     `json:"action,omitempty"`
	}
	if err := json.Unmarshal(m.Data, &request); err != nil {
		return nil, refused{400, 10025, "invalid JSON: " + err.Error()}
	}
	var c consumerConfig
	if err := json.Unmarshal(m.Data, &struct {
		Config *consumerConfig `json:"config"`
	}{&c}); err != nil {
		return nil, refused{400, 10025, "invalid JSON: " + err.Error()}
	}
	named, _, _ := strings.Cut(path, ".")
	name := firstOf(c.Name, c.Durable, named, rand.Text())
	if strings.ContainsAny(name, ". *>\t\r\n/\\") {
		return nil, refused{400, 10015, "a consumer's name has no dots, wildcards, slashes and spaces"}
	}
	if err := b.mayConsume(user, name, c); err != nil {
		return nil, err
	}
	if request.Config == nil {
		request.Config = map[string]json.RawMessage{}
	}
	set := func(key string, value any) {
		request.Config[key], _ = json.Marshal(value) // of strings
	}
	set("name", name)
	if c.Metadata == nil {
		c.Metadata = map[string]string{}
	}
	c.Metadata[ownerKey] = user.Name
	set("metadata", c.Metadata)
	if c.Deliver != "" {
		set("deliver_subject", delivered+home+"."+c.Deliver)
	}
	request.Stream = b.gate.history
	if !b.gate.knows(name) {
		request.Action = "create" // and not change one of the gateway's own
	}
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	what := "CONSUMER.CREATE." + b.gate.history + "." + name
	if c.Filter != "" {
		what += "." + c.Filter
	}
	release := b.gate.claim(name, owned{user.Name, c.filters()})
	answer, err := b.askHistory(what, body)
	if err != nil || isRefusal(answer) {
		release()
		return answer, err
	}
	b.letRead(m, user, name, c.Durable != "")
	return answer, nil
}

// consumerConfig is what the gate looks at.
type consumerConfig struct {
	Name     string            `json:"name"`
	Durable  string            `json:"durable_name"`
	Deliver  string            `json:"deliver_subject"`
	Filter   string            `json:"filter_subject"`
	Filters  []string          `json:"filter_subjects"`
	Metadata map[string]string `json:"metadata"`
}

// mayConsume says what is wrong with a consumer that a user wants.
func (b *Broker) mayConsume(user Grant, name string, c consumerConfig) error {
	if b.gate.knows(name) && b.gate.owner(name) != user.Name {
		return refused{403, 10013, fmt.Sprintf("consumer name %s is taken; choose another", name)}
	}
	if b.gate.count(user.Name) >= mostConsumers {
		return refused{503, 10026, fmt.Sprintf("user %s has %d consumers of the history already; delete some, or wait until those that nobody reads from are gone", user.Name, mostConsumers)}
	}
	if c.Deliver != "" && (!ipc.IsInbox(c.Deliver) || strings.ContainsAny(c.Deliver, "*>")) {
		return refused{403, 10069, fmt.Sprintf("a consumer delivers to an inbox, and %s is none", c.Deliver)}
	}
	switch outside := b.gate.outside(user, c.filters()); outside {
	case "":
		return nil
	case everything:
		return refused{403, 10045, fmt.Sprintf("user %s may read the history of %s alone: set filter_subject to %s", user.Name, strings.Join(user.Ports, ", "), b.subjects.Port(user.Ports[0])+".>")}
	default:
		return refused{403, 10045, fmt.Sprintf("user %s may read the history of %s alone, and not of %s", user.Name, strings.Join(user.Ports, ", "), outside)}
	}
}

func (c consumerConfig) filters() []string {
	if c.Filter != "" {
		return append(slices.Clone(c.Filters), c.Filter)
	}
	return c.Filters
}

// everything is what comes out of a consumer without a filter.
const everything = ">"

// outside returns what of a consumer with some filters a user may not read, or empty.
func (g *gate) outside(user Grant, filters []string) string {
	if len(user.Ports) == 0 {
		return ""
	}
	if len(filters) == 0 {
		return everything
	}
	for _, f := range filters {
		if !slices.ContainsFunc(user.Ports, func(port string) bool { return strings.HasPrefix(f, g.root+"."+port+".") }) {
			return f
		}
	}
	return ""
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
