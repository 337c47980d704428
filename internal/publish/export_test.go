package publish

import "time"

// Patience makes a publisher in a test wait less before it sends a message again.
func Patience(d time.Duration) Option { return func(p *Publisher) { p.patience = d } }

// Patient makes a publisher in a test wait less for a stream that is known to store.
func Patient(d time.Duration) Option { return func(p *Publisher) { p.patient = d } }

// WindowMessages is how many messages may be under way.
const WindowMessages = windowMessages

// Haste is for how long a message is left alone that was sent.
const Haste = haste
