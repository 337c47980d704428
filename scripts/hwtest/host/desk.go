package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/serialvisor/serialvisor/scripts/hwtest/order"
)

// desk takes the guest's orders, one after the other.
type desk struct {
	machine *machine
	score   *score
	ends    map[string]*end
}

var errUnknown = errors.New("no such order")

// serve answers orders until order.End. It tells alive of each.
func (d *desk) serve(conn net.Conn, alive chan<- struct{}) error {
	in, out := json.NewDecoder(conn), json.NewEncoder(conn)
	for {
		var o order.Order
		if err := in.Decode(&o); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
				return errors.New("the guest ended before its last check")
			}
			return fmt.Errorf("an order is garbled: %w", err)
		}
		select {
		case alive <- struct{}{}:
		default:
		}
		answer, err := d.do(o)
		if err != nil {
			answer.Error = err.Error()
		}
		if err := out.Encode(answer); err != nil {
			return fmt.Errorf("answer the guest: %w", err)
		}
		if o.Do == order.End {
			return nil
		}
	}
}

func (d *desk) do(o order.Order) (a order.Answer, err error) {
	switch o.Do {
	case order.Report:
		d.report(o)
		return a, nil
	case order.End:
		return a, nil
	case order.Unplug:
		return a, d.unplug()
	case order.Plug:
		return a, d.plug()
	case order.Reset:
		for _, e := range d.ends {
			e.quiet()
			e.setEcho(false)
			e.hold(false)
			e.take(true)
		}
		if _, err := d.machine.endTrace(); err != nil || d.machine.plugged {
			return a, err
		}
		return a, d.plug()
	case order.Break:
		return a, d.machine.sendBreak(o.Port)
	case order.Trace:
		return a, d.machine.startTrace()
	case order.Traced:
		a.Lines, err = d.machine.endTrace()
		return a, err
	}
	e, ok := d.ends[o.Port]
	if !ok {
		return a, fmt.Errorf("%s %s: %w", o.Do, o.Port, errUnknown)
	}
	switch o.Do {
	case order.Say:
		err = e.say(o.Prefix, o.Last, o.Pause)
	case order.Quiet:
		a.N = e.quiet()
	case order.Heard:
		a.Lines = e.take(false)
	case order.Forget:
		e.take(true)
	case order.Hold, order.Release:
		e.hold(o.Do == order.Hold)
	case order.Echo, order.Mute:
		e.setEcho(o.Do == order.Echo)
	default:
		err = fmt.Errorf("%s: %w", o.Do, errUnknown)
	}
	return a, err
}

func (d *desk) unplug() error {
	if err := d.ends[order.FTDI].setAway(true); err != nil {
		return err
	}
	return d.machine.unplug()
}

func (d *desk) plug() error {
	if err := d.machine.plug(); err != nil {
		return err
	}
	return d.ends[order.FTDI].setAway(false)
}

// report prints a line for a check.
func (d *desk) report(o order.Order) {
	switch o.Verdict {
	case order.Passed:
		d.score.passed++
	default:
		d.score.failed++
	}
	fmt.Printf("%-8s%s: %s\n", o.Verdict, o.Check, o.Text)
}
