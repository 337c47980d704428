package ring

import "testing"

// A supervisor's word that the store stores counts until it says otherwise.
func TestStores(t *testing.T) {
	r := newRing(t, Sizes{Received: 100, Sent: 100})
	if r.Stores() {
		t.Error("the store is known to store before anybody has said so")
	}
	for _, stores := range []bool{true, false, true} {
		r.NoteStore(stores)
		if r.Stores() != stores {
			t.Errorf("after the word %t it stores: %t", stores, r.Stores())
		}
	}
}
