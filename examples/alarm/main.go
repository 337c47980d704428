// alarm sends a command to a port when a line on another matches: here, when a GPS receiver has no position any more, whose
// GGA sentences then have quality 0, a lamp goes on; and off when it has one again.
//
//	workers:
//	  alarm:
//	    command: [./alarm, -watch, gps, -on, 'GGA,[^,]*,[^,]*,[^,]*,[^,]*,[^,]*,0,', -off, 'GGA,', -to, lamp]
//	    role: send
//	    notify: true
//	    watchdog: 5s
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"os"
	"regexp"
	"time"

	"github.com/serialvisor/serialvisor/worker"
)

func main() {
	watch := flag.String("watch", "", "the `PORT` to watch; without it, all that the worker is for")
	on := pattern("on", "ALARM", "a line that matches this `REGEXP` begins the alarm")
	off := pattern("off", "", "a line that matches this `REGEXP`, and not that of -on, ends it")
	to := flag.String("to", "", "the `PORT` that is told")
	flag.Parse()
	if *to == "" {
		log.Print("<3>-to is missing: the port that is told of the alarm")
		os.Exit(2)
	}
	log.SetFlags(0) // the supervisor's log has the time
	worker.Run(func(ctx context.Context, w *worker.Worker) error {
		var ports []string
		if *watch != "" {
			ports = []string{*watch}
		}
		frames := w.Frames(ctx, ports...)
		if err := w.Ready(); err != nil { // from now on no line is missed
			return err
		}
		alarm := false
		for f, err := range frames {
			if errors.Is(err, worker.ErrMissed) {
				log.Printf("<4>%v", err) // the next line tells how it stands
				continue
			}
			if err != nil {
				return err
			}
			begins := on.MatchString(f.String())
			if begins == alarm || !begins && !off.MatchString(f.String()) {
				continue
			}
			alarm = begins
			command := map[bool]string{true: "ON", false: "OFF"}[alarm]
			// A lamp that was away for a minute is not to show what was then.
			if _, err := w.Send(ctx, *to, []byte(command), worker.TTL(time.Minute)); err != nil {
				return err
			}
			log.Printf("<6>port %s: %s after %q", *to, command, f.Data)
			if err := w.Status(command); err != nil {
				return err
			}
		}
		return nil
	}, worker.ReadyLater())
}

// pattern is a flag that takes a regular expression.
func pattern(name, standard, usage string) *regexp.Regexp {
	r := regexp.MustCompile(standard)
	flag.Func(name, usage+" (default \""+standard+"\")", func(text string) error {
		compiled, err := regexp.Compile(text)
		if err == nil {
			*r = *compiled
		}
		return err
	})
	return r
}
