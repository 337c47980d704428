package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/serialvisor/serialvisor/internal/capture"
)

// recording is what a file holds of what was received.
type recording struct {
	in    capture.Reader
	first capture.Record // which was read to see whether there is one
	begun bool
	port  string
}

// openRecording recognises a file. One with nothing that was received is an error.
func openRecording(file io.Reader) (*recording, error) {
	in, _, err := capture.NewReader(file)
	if err != nil {
		return nil, err
	}
	r := &recording{in: in}
	r.first, err = r.received()
	if err == io.EOF {
		return nil, errors.New("nothing was received in it")
	}
	return r, err
}

// received reads to the next frame that was received.
func (r *recording) received() (capture.Record, error) {
	for {
		next, err := r.in.Next()
		if err != nil {
			return next, err
		}
		if next.Kind != capture.Rx {
			continue
		}
		if r.port == "" {
			r.port = next.Port
		}
		if next.Port != r.port {
			return next, fmt.Errorf("it has frames of port %s, and of port %s: a device has one", r.port, next.Port)
		}
		return next, nil
	}
}

// next is for a simulator.Replay.
func (r *recording) next() (time.Time, []byte, error) {
	if !r.begun {
		r.begun = true
		return r.first.Time, r.first.Wire, nil
	}
	next, err := r.received()
	return next.Time, next.Wire, err
}
