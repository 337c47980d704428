package ring

import "testing"

// Every state that a kill can leave a reader's words in. A step is: note the intent, read from the pipe, note the new head,
// take the intent back.
func TestReceived(t *testing.T) {
	for _, c := range []struct {
		name                 string
		head, intent, inPipe uint64
		want                 uint64
	}{
		{"nothing was ever received", 0, 0, 0, 0},
		{"between reads, nothing in the pipe", 100, 0, 0, 100},
		{"spliced and no intent yet", 100, 0, 7, 100},
		{"intent noted and nothing read", 100, 1 + 107, 7, 100},
		{"part of it read, as the ring was full", 100, 1 + 107, 3, 104},
		{"all of it read", 100, 1 + 107, 0, 107},
		{"all read and the head noted", 107, 1 + 107, 0, 107},
		{"part read and the head noted", 104, 1 + 107, 3, 104},
		{"at the beginning of a session", 0, 1 + 5, 0, 5},
		{"an intent for nothing", 100, 1 + 100, 0, 100},
	} {
		if got := received(c.head, c.intent, c.inPipe); got != c.want {
			t.Errorf("%s: head is %d, want %d", c.name, got, c.want)
		}
	}
}

// Every state that a kill can leave a writer's words in. A step is: note what was fed, write to the empty pipe, note what is
// fed now, take the note back; then bytes leave the pipe.
func TestFed(t *testing.T) {
	for _, c := range []struct {
		name                 string
		fed, feeding, inPipe uint64
		want                 uint64
	}{
		{"a frame begun", 0, 0, 0, 0},
		{"about to write", 0, 1 + 0, 0, 0},
		{"written, not noted", 0, 1 + 0, 80, 80},
		{"written in part", 0, 1 + 0, 30, 30},
		{"written and noted", 80, 1 + 0, 80, 80},
		{"on its way to the device", 80, 0, 80, 80},
		{"half of it with the device", 80, 0, 40, 80},
		{"all of it with the device", 80, 0, 0, 80},
		{"about to write the next piece", 4096, 1 + 4096, 0, 4096},
		{"the next piece written, not noted", 4096, 1 + 4096, 904, 5000},
		{"the next piece written and noted", 5000, 1 + 4096, 904, 5000},
	} {
		if got := fed(c.fed, c.feeding, c.inPipe); got != c.want {
			t.Errorf("%s: %d bytes were fed, want %d", c.name, got, c.want)
		}
	}
}
