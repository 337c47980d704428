package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/serialvisor/serialvisor/scripts/hwtest/order"
)

// host is the other side of the machine, which holds the other ends of its ports.
type host struct {
	mu  sync.Mutex // held from an order to its answer
	in  *json.Decoder
	out *json.Encoder
}

// callHost finds the port to the host.
func callHost() (*host, error) {
	names, _ := filepath.Glob("/sys/class/virtio-ports/*/name")
	for _, path := range names {
		name, err := os.ReadFile(path)
		if err != nil || strings.TrimSpace(string(name)) != order.Port {
			continue
		}
		f, err := os.OpenFile("/dev/"+filepath.Base(filepath.Dir(path)), os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		return &host{in: json.NewDecoder(f), out: json.NewEncoder(f)}, nil
	}
	return nil, fmt.Errorf("there is no virtio port %s", order.Port)
}

// do has an order carried out.
func (h *host) do(o order.Order) (a order.Answer, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err = h.out.Encode(o); err == nil {
		err = h.in.Decode(&a)
	}
	if err == nil && a.Error != "" {
		err = errors.New(a.Error)
	}
	if err != nil {
		err = fmt.Errorf("have the host %s: %w", o.Do, err)
	}
	return a, err
}

// each does simple orders for a port, in order.
func (h *host) each(port string, orders ...string) error {
	for _, do := range orders {
		if _, err := h.do(order.Order{Do: do, Port: port}); err != nil {
			return err
		}
	}
	return nil
}

// say has lines PREFIX-000001 to the given number come in at a port; with last 0, one each pause until quiet.
func (h *host) say(port, prefix string, last int, pause time.Duration) error {
	_, err := h.do(order.Order{Do: order.Say, Port: port, Prefix: prefix, Last: last, Pause: pause})
	return err
}

// quiet ends it and returns the number of the last line.
func (h *host) quiet(port string) (int, error) {
	a, err := h.do(order.Order{Do: order.Quiet, Port: port})
	return a.N, err
}

// heard is what came out of a port since it was forgotten.
func (h *host) heard(port string) ([]string, error) {
	a, err := h.do(order.Order{Do: order.Heard, Port: port})
	return a.Lines, err
}

// startTrace begins to record what the kernel does to the chips.
func (h *host) startTrace() error {
	_, err := h.do(order.Order{Do: order.Trace})
	return err
}

// endTrace is what the kernel did since startTrace: QEMU's trace events, a line each.
func (h *host) endTrace() ([]string, error) {
	a, err := h.do(order.Order{Do: order.Traced})
	return a.Lines, err
}
