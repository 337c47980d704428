package broker

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

// makeConsumer makes a consumer that its maker alone may read from, or changes one of his. What is passed on is what was looked at,
// written anew: of a key that is there twice, or in another case, servers and gates may take different ones.
func (b *Broker) makeConsumer(m *nats.Msg, home string, user Grant, path string) ([]byte, error) {
	if len(m.Data) > mostConfig {
		return nil, refused{400, 10025, fmt.Sprintf("the request has %d bytes, more than %d", len(m.Data), mostConfig)}
	}
	var request server.CreateConsumerRequest
	if err := json.Unmarshal(m.Data, &request); err != nil {
		return nil, refused{400, 10025, "invalid JSON: " + err.Error()}
	}
	c := &request.Config
	named, _, _ := strings.Cut(path, ".")
	c.Name = firstOf(c.Name, c.Durable, named, rand.Text())
	if c.Durable != "" {
		c.Durable = c.Name
	}
	if strings.ContainsAny(c.Name, ". *>\t\r\n/\\") {
		return nil, refused{400, 10015, "a consumer's name has no dots, wildcards, slashes and spaces"}
	}
	if err := b.mayConsume(user, c); err != nil {
		return nil, err
	}
	bound(c)
	metadata := map[string]string{}
	for key, value := range c.Metadata {
		metadata[key] = value
	}
	metadata[ownerKey] = user.Name
	c.Metadata = metadata
	if c.DeliverSubject != "" {
		c.DeliverSubject = delivered + home + "." + c.DeliverSubject
	}
	request.Stream = b.gate.history

	b.gate.changing.Lock()
	defer b.gate.changing.Unlock()
	its := owned{user.Name, allFilters(c.FilterSubjects, c.FilterSubject), c.Durable != ""}
	release, err := b.gate.claim(c.Name, its)
	if err != nil {
		return nil, err
	}
	if release != nil {
		request.Action = server.ActionCreate // and not change one of the gateway's own
	}
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	what := "CONSUMER.CREATE." + b.gate.history + "." + c.Name
	if c.FilterSubject != "" {
		what += "." + c.FilterSubject
	}
	answer, err := b.askHistory(what, body)
	if err != nil {
		return nil, err // it may be made all the same, and is his then
	}
	if isRefusal(answer) {
		if release != nil {
			release()
		}
		return answer, nil
	}
	b.gate.note(c.Name, its)
	b.letRead(m, user, c.Name, c.Durable != "")
	return answer, nil
}

// deleteConsumer deletes one of a user's own.
func (b *Broker) deleteConsumer(user Grant, name string) ([]byte, error) {
	b.gate.changing.Lock()
	defer b.gate.changing.Unlock()
	if b.gate.owner(name) != user.Name {
		return nil, errNoConsumer
	}
	answer, err := b.askHistory("CONSUMER.DELETE."+b.gate.history+"."+name, nil)
	if err == nil && !isRefusal(answer) {
		b.gate.disown(name)
	}
	return answer, err
}

// mayConsume says what is wrong with a consumer that a user wants.
func (b *Broker) mayConsume(user Grant, c *server.ConsumerConfig) error {
	switch {
	case len(c.FilterSubjects) > mostFilters:
		return refused{400, 10045, fmt.Sprintf("there are %d filters, more than %d", len(c.FilterSubjects), mostFilters)}
	case c.DeliverSubject != "" && (!ipc.IsInbox(c.DeliverSubject) || strings.ContainsAny(c.DeliverSubject, "*>")):
		return refused{403, 10069, fmt.Sprintf("a consumer delivers to an inbox, and %s is none", c.DeliverSubject)}
	case c.Direct || c.Sourcing:
		return refused{403, 10090, "consumers of streams' own are not offered"}
	}
	switch outside := b.gate.outside(user, allFilters(c.FilterSubjects, c.FilterSubject)); outside {
	case "":
		return nil
	case everything:
		return refused{403, 10045, fmt.Sprintf("user %s may read the history of %s alone: set filter_subject to %s", user.Name, strings.Join(user.Ports, ", "), b.subjects.Port(user.Ports[0])+".>")}
	default:
		return refused{403, 10045, fmt.Sprintf("user %s may read the history of %s alone, and not of %s", user.Name, strings.Join(user.Ports, ", "), outside)}
	}
}

// bound limits what a consumer may have under way.
func bound(c *server.ConsumerConfig) {
	if c.AckPolicy != server.AckNone && (c.MaxAckPending <= 0 || c.MaxAckPending > mostPending) {
		c.MaxAckPending = mostPending
	}
	if c.DeliverSubject != "" {
		return
	}
	if c.MaxWaiting <= 0 || c.MaxWaiting > mostPulls {
		c.MaxWaiting = mostPulls
	}
	if c.MaxRequestBatch <= 0 || c.MaxRequestBatch > mostBatch {
		c.MaxRequestBatch = mostBatch
	}
}

// allFilters are those of a consumer, whose config has several, or one.
func allFilters(several []string, one string) []string {
	if one != "" {
		return append(slices.Clone(several), one)
	}
	return several
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
