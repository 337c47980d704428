package worker_test

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// proxy stands between a worker and the broker, to break the connection.
type proxy struct {
	listener net.Listener
	target   string

	mu    sync.Mutex // guards all below
	conns []net.Conn
	deaf  bool // what the broker says does not come through
	shut  bool // connections are refused
}

// between makes a proxy, and an environment that leads to it.
func between(t testing.TB, env []string) (*proxy, []string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l}
	env = append([]string(nil), env...)
	for i, variable := range env {
		if url, ok := strings.CutPrefix(variable, "NATS_URL=nats://"); ok {
			p.target = url
			env[i] = "NATS_URL=nats://" + l.Addr().String()
		}
	}
	t.Cleanup(func() { _ = l.Close(); p.cut() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.serve(c)
		}
	}()
	return p, env
}

func (p *proxy) serve(client net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	server, err := net.Dial("tcp", p.target)
	if err != nil || p.shut {
		_ = client.Close()
		return
	}
	p.conns = append(p.conns, client, server)
	go func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	}()
	go func() {
		buffer := make([]byte, 32<<10)
		for {
			n, err := server.Read(buffer)
			p.mu.Lock()
			deaf := p.deaf
			p.mu.Unlock()
			if err == nil && !deaf {
				_, err = client.Write(buffer[:n])
			}
			if err != nil {
				_ = client.Close()
				return
			}
		}
	}()
}

// set changes what comes through.
func (p *proxy) set(deaf, shut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deaf, p.shut = deaf, shut
}

// cut ends all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}
