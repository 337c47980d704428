package main

import "fmt"

// terms are what a checker goes by, and what it finds.
type terms struct {
	keeps   bool // descriptors outlive the supervisor
	plug    bool // the device is unplugged now and then
	room    int  // how much a pseudo-terminal may hold in a direction
	endings []ending

	problems []problem
}

// problem is something that must not be, around a time in ns since 1970.
type problem struct {
	at   int64
	text string
}

func (t *terms) problem(at int64, format string, args ...any) {
	t.problems = append(t.problems, problem{at, fmt.Sprintf(format, args...)})
}
