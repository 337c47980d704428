package capture

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestWiresharkReads has Wireshark read every packet as it was meant. A frame that is too long for it is several.
func TestWiresharkReads(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("NOT TESTED whether Wireshark opens pcapng files: apt-get install --no-install-recommends tshark")
	}
	records := traffic()
	last := records[len(records)-1].Time
	long := bytes.Repeat([]byte("0123456789abcdef"), maxPacket/16)
	records = append(records, Record{Time: last, Port: "gps", Kind: Rx, Wire: append(long, "behind"...)})
	for i := range 2*maxRemarks + 1 {
		records = append(records, Record{Time: last, Kind: State, Payload: fmt.Appendf(nil, `{"state":"busy","error":"%d"}`, i)})
	}
	name := filepath.Join(t.TempDir(), "x.pcapng")
	if err := os.WriteFile(name, file(t, PCAPNG, records), 0o600); err != nil {
		t.Fatal(err)
	}
	read := exec.Command(tshark, "-r", name, "-T", "fields", "-E", "separator=|", "-E", "aggregator=;",
		"-e", "frame.time_epoch", "-e", "frame.packet_flags_direction", "-e", "frame.interface_name", "-e", "frame.len", "-e", "data.data", "-e", "frame.comment")
	read.Env = append(os.Environ(), "TZ=UTC", "HOME="+t.TempDir())
	out, err := read.Output()
	if err != nil {
		t.Fatalf("tshark: %v\n%s", err, err.(*exec.ExitError).Stderr)
	}
	line := func(at time.Time, direction int, wire []byte, comment string) string {
		return fmt.Sprintf("%d.%09d|0x%08x|gps|%d|%x|%s", at.Unix(), at.Nanosecond(), direction, len(wire), wire, comment)
	}
	want := []string{
		line(records[1].Time, inbound, records[1].Wire, "2026-01-02T03:04:05.678901234Z: the port is open /dev/ttyUSB0"),
		line(records[2].Time, inbound, records[2].Wire, "flags: partial,gap"),
		line(records[3].Time, outbound, records[3].Payload, ""),
		line(records[4].Time, inbound, records[4].Wire, ""),
		line(records[5].Time, inbound, records[5].Wire, ""),
		line(records[6].Time, inbound, records[6].Wire, ""),
		line(records[8].Time, outbound, records[8].Payload, "2026-01-02T03:05:05.679901234Z: a frame of 8 bytes was not sent: max_age"),
		line(last, inbound, long, "2026-01-02T03:05:35.678901234Z: the port is missing /dev/ttyUSB0 =hung up;the frame goes on in the next packet"),
		line(last, inbound, []byte("behind"), ""),
	}
	got := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(got) != len(want) {
		t.Fatalf("tshark reads %d packets, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("packet %d is\n%.400s\nwant\n%.400s", i+1, got[i], want[i])
		}
	}
	// Our own reader, too, finds what was cut for Wireshark; the statistics behind hold the remarks that nothing followed.
	all, _, err := readAll(bytes.NewReader(file(t, PCAPNG, records)))
	if err != nil || len(all) != len(want) || !bytes.Equal(append(all[7].Wire, all[8].Wire...), records[10].Wire) {
		t.Errorf("read %d packets, %v", len(all), err)
	}
	if tail := file(t, PCAPNG, records); !bytes.Contains(tail, []byte("the port is busy 64")) || bytes.Contains(tail, []byte("busy 32")) || !bytes.Contains(tail, []byte("33 changes of state")) {
		t.Error("the remarks at the end are not the last 32 and how many came before")
	}
}
