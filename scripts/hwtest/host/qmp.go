package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
)

// qmp is the machine's monitor, see QEMU's docs/interop/qmp-spec. One command at a time.
type qmp struct {
	conn    net.Conn
	decoder *json.Decoder
	last    int // id of a command
}

type reply struct {
	Return json.RawMessage
	Error  *struct{ Class, Desc string }
	Event  string
}

func newQMP(conn net.Conn) (*qmp, error) {
	q := &qmp{conn: conn, decoder: json.NewDecoder(bufio.NewReader(conn))}
	var greeting any
	if err := q.decoder.Decode(&greeting); err != nil {
		return nil, fmt.Errorf("QEMU does not greet: %w", err)
	}
	_, err := q.do("qmp_capabilities", nil, "")
	return q, err
}

// do runs a command and waits for its answer, and then for an event if one is named.
func (q *qmp) do(command string, arguments map[string]any, event string) (json.RawMessage, error) {
	q.last++
	request := map[string]any{"execute": command, "id": q.last}
	if arguments != nil {
		request["arguments"] = arguments
	}
	if err := json.NewEncoder(q.conn).Encode(request); err != nil {
		return nil, fmt.Errorf("QEMU %s: %w", command, err)
	}
	var result json.RawMessage
	for answered, happened := false, event == ""; !answered || !happened; {
		var r reply
		if err := q.decoder.Decode(&r); err != nil {
			return nil, fmt.Errorf("QEMU %s: %w", command, err)
		}
		switch {
		case r.Error != nil:
			return nil, fmt.Errorf("QEMU %s: %s", command, r.Error.Desc)
		case r.Event != "":
			happened = happened || r.Event == event
		case r.Return != nil:
			result, answered = r.Return, true
		}
	}
	return result, nil
}
