package ring

// received resolves what a dead reader was about to do: it returns how many bytes have come into the ring, given its words
// and how many bytes are in the pipe now, which nobody but the reader touches.
//
//	intent 0                no read was under way: head is right, and what is in the pipe comes behind it
//	intent 1+end            a read was: the pipe ended at end, so what is still in it ends there too
//
// That the new head was noted already, and only the intent not taken back, makes no difference.
func received(head, intent, inPipe uint64) uint64 {
	if intent == 0 {
		return head
	}
	return intent - 1 - inPipe
}

// fed resolves what a dead writer was about to do: how many bytes of the frame in hand were put into the pipe, some of
// which may be in it still.
//
//	feeding 0               no write was under way: fed is right
//	feeding 1+before        a write was, into an empty pipe: what is in it now is what it has put there
func fed(fed, feeding, inPipe uint64) uint64 {
	if feeding == 0 {
		return fed
	}
	return feeding - 1 + inPipe
}
