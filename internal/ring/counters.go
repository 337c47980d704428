package ring

import "time"

// RxCounters count what a port has received since its supervisor started.
type RxCounters struct {
	Bytes, Frames uint64
	LostHistory   uint64 // frames that taps have got and the history has not
	LostForward   uint64 // frames that could not be forwarded
}

// Rx reads the counters of the receiving direction.
func (r *Ring) Rx() RxCounters {
	s, w := &r.h.supervisor, &r.h.reader
	return RxCounters{
		Bytes: s.rxBytes.Load() + w.head.Load(), Frames: s.rxFrames.Load() + w.framed.Load(),
		LostHistory: w.lostHistory.Load(), LostForward: w.lostForward.Load(),
	}
}

// TxCounters count what was sent through a port since its supervisor started.
type TxCounters struct {
	Bytes, Frames uint64
	Expired       uint64 // frames that were accepted and then not sent
	LostHistory   uint64 // frames that were sent and that the history has not
}

// Tx reads the counters of the sending direction.
func (r *Ring) Tx() TxCounters {
	w := &r.h.writer
	return TxCounters{Bytes: w.bytes.Load(), Frames: w.frames.Load(), Expired: w.expired.Load(), LostHistory: w.lost.Load()}
}

// CountLostHistory counts received frames that the history has not got, or with a negative number got after all.
func (r *Ring) CountLostHistory(delta int) { r.h.reader.lostHistory.Add(uint64(delta)) }

// CountLostForward counts a frame that could not be forwarded.
func (r *Ring) CountLostForward() { r.h.reader.lostForward.Add(1) }

// CountLostSent is CountLostHistory for frames that were sent.
func (r *Ring) CountLostSent(delta int) { r.h.writer.lost.Add(uint64(delta)) }

// CountExpired counts a frame that was accepted and is not sent.
func (r *Ring) CountExpired() { r.h.writer.expired.Add(1) }

// storesFor is how long a supervisor's word for the store counts, if it says nothing else meanwhile.
const storesFor = 10 * time.Second

// NoteStore is the supervisor's word, which it gives time and again, on whether the broker's store can be written.
func (r *Ring) NoteStore(ok bool) {
	until := time.Duration(0)
	if ok {
		until = Now() + storesFor
	}
	r.h.supervisor.stores.Store(uint64(until))
}

// Stores says whether the broker's store is known to store.
func (r *Ring) Stores() bool { return Now() < time.Duration(r.h.supervisor.stores.Load()) }

// SetLasting is the supervisor's word on whether the session goes on when the reader is asked to end, with another supervisor.
func (r *Ring) SetLasting(lasting bool) {
	word := uint64(0)
	if lasting {
		word = 1
	}
	r.h.supervisor.lasting.Store(word)
}

// Lasting is what SetLasting has said.
func (r *Ring) Lasting() bool { return r.h.supervisor.lasting.Load() != 0 }

// Written says whether a frame of the queue that the memory knows was written.
func (r *Ring) Written(seq uint64) bool {
	for i := range r.notes {
		if seq != 0 && r.notes[i].Load() == seq {
			return true
		}
	}
	return false
}

// InHand says whether a frame of the queue is in hand: it was begun and not completed.
func (r *Ring) InHand(seq uint64) bool {
	w := &r.h.writer
	return w.state.Load() == inHand && Kind(w.kind.Load()) == Queued && w.seq.Load() == seq
}
