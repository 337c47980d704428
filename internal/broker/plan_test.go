package broker

import (
	"reflect"
	"testing"

	"github.com/serialvisor/serialvisor/internal/ipc"
)

func TestPlanQueues(t *testing.T) {
	usual, long := Limits{MaxMessages: 100}, Limits{MaxMessages: 5000}
	memory := Limits{Memory: true, MaxMessages: 100}
	type names map[string][]string // ports of each stream
	for _, c := range []struct {
		name   string
		queues []Queue
		want   names
	}{
		{"none", nil, names{}},
		{"without queues", []Queue{{Port: "a", Off: true}}, names{}},
		{"all alike", []Queue{{"a", false, usual, 10}, {"b", false, usual, 10}}, names{"SERIAL_QUEUE": {"a", "b"}}},
		{
			"the most common limits share",
			[]Queue{{"a", false, long, 10}, {"b", false, usual, 10}, {"c", false, usual, 10}, {"d", true, usual, 10}},
			names{"SERIAL_QUEUE": {"b", "c"}, "SERIAL_QUEUE_a": {"a"}},
		},
		{
			"files share before memory",
			[]Queue{{"a", false, memory, 10}, {"b", false, memory, 10}, {"c", false, usual, 10}},
			names{"SERIAL_QUEUE": {"c"}, "SERIAL_QUEUE_a": {"a"}, "SERIAL_QUEUE_b": {"b"}},
		},
		{
			"longer frames have a stream of their own",
			[]Queue{{"a", false, usual, 10}, {"b", false, usual, 10}, {"c", false, usual, 99}},
			names{"SERIAL_QUEUE": {"a", "b"}, "SERIAL_QUEUE_c": {"c"}},
		},
	} {
		got := names{}
		for _, s := range planQueues(ipc.Subjects{Root: "serial"}, c.queues) {
			got[s.name] = s.ports
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
