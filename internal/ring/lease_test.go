package ring

import (
	"strings"
	"sync"
	"testing"
	"time"
)

func TestLease(t *testing.T) {
	r, f, err := New("test", Sizes{Received: 100, Sent: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	writer, err := Open(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if l, version := writer.Lease(); l != (Lease{}) || version != 0 || l.Left() != 0 {
		t.Errorf("a new ring has the lease %+v, %d", l, version)
	}
	want := Lease{strings.Repeat("t", MaxToken), strings.Repeat("h", MaxHolder), strings.Repeat("a", MaxAlive), Now() + time.Minute}
	if err := r.SetLease(want); err != nil {
		t.Fatal(err)
	}
	if l, version := writer.Lease(); l != want || version != writer.LeaseVersion() || l.Left() <= 59*time.Second || l.Left() > time.Minute {
		t.Errorf("the lease is %+v", l)
	}
	for _, long := range []Lease{{Token: want.Token + "x"}, {Holder: want.Holder + "x"}, {Alive: want.Alive + "x"}} {
		if err := r.SetLease(long); err == nil {
			t.Errorf("%+v was taken", long)
		}
	}
	if l, _ := writer.Lease(); l != want {
		t.Errorf("after a refusal the lease is %+v", l)
	}
	r.NewSession()
	if l, _ := writer.Lease(); l != want {
		t.Error("the lease ends with a session")
	}
	want.Expires = Now()
	if err := r.SetLease(want); err != nil || want.Left() != 0 {
		t.Errorf("an expired lease has %s left, %v", want.Left(), err)
	}
	if err := r.SetLease(Lease{}); err != nil {
		t.Fatal(err)
	}
	if l, _ := writer.Lease(); l != (Lease{}) {
		t.Errorf("after its end the lease is %+v", l)
	}
}

// A lease is seen as a whole, whenever it is looked at.
func TestLeaseIsWhole(t *testing.T) {
	r := newRing(t, Sizes{Received: 100, Sent: 100})
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			text := strings.Repeat(string(rune('a'+i%26)), 1+i%32)
			_ = r.SetLease(Lease{text, text, text, time.Duration(len(text))})
		}
	})
	for range 20000 {
		if l, _ := r.Lease(); l.Token != l.Holder || l.Holder != l.Alive || int(l.Expires) != len(l.Token) {
			t.Errorf("a mixture: %+v", l)
			break
		}
	}
	close(stop)
	group.Wait()
}
