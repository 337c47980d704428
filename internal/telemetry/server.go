// Package telemetry answers over HTTP how a gateway does: figures for Prometheus, whether it works, and whether it does all
// it could.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Source is what the figures come from. Its methods may be called from any goroutine, and answer soon.
type Source interface {
	// Snapshot is how all stands at one time.
	Snapshot() Snapshot
	// Alive returns an error if the gateway does not work and should be started again.
	Alive() error
}

// Server listens, and answers when it runs.
type Server struct {
	listener net.Listener
	log      *slog.Logger
}

// Listen takes an address. Requests that come before Run wait.
func Listen(address string, log *slog.Logger) (*Server, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		var number syscall.Errno
		if errors.As(err, &number) {
			err = number
		}
		return nil, fmt.Errorf("metrics cannot listen on %s: %w; set metrics.listen to another address, or to port 0 for a free one", address, err)
	}
	return &Server{listener, log}, nil
}

// URL is where to ask.
func (s *Server) URL() string { return "http://" + s.listener.Addr().String() }

// Close stops listening. It may be called after Run.
func (s *Server) Close() { _ = s.listener.Close() }

const (
	// together is how many may ask for figures at the same time.
	together = 4
	// lastAnswers is how long answers that are under way may take when Run ends.
	lastAnswers = time.Second
)

// Run answers from a source until ctx ends.
func (s *Server) Run(ctx context.Context, source Source) error {
	server := &http.Server{
		Handler: handler(source, s.log), ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		ReadTimeout: 5 * time.Second, WriteTimeout: 15 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(s.listener) }() // waited for here
	select {
	case err := <-ended:
		return fmt.Errorf("metrics: %w", err)
	case <-ctx.Done():
	}
	limited, cancel := context.WithTimeout(context.Background(), lastAnswers)
	defer cancel()
	if server.Shutdown(limited) != nil {
		_ = server.Close()
	}
	<-ended
	return nil
}

// handler serves the three paths.
func handler(source Source, log *slog.Logger) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerForTransactional(newCollector(source, registry), promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn), MaxRequestsInFlight: together,
		DisableCompression: true, // it costs more than the figures themselves, and saves nothing on the same machine
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if err := source.Alive(); err != nil {
			say(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		say(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if status := source.Snapshot().Status; !status.Ready {
			say(w, http.StatusServiceUnavailable, status.NotReady...)
			return
		}
		say(w, http.StatusOK, "ready")
	})
	return mux
}

func say(w http.ResponseWriter, code int, lines ...string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(strings.Join(lines, "\n") + "\n")) // who asked is gone
}
