package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/serialvisor/serialvisor/internal/simulator"
)

// The examples in docs/requests.md do what stands there, with the settings that stand there, on devices that speak those
// protocols.
func TestDocumentedRequests(t *testing.T) {
	text, err := os.ReadFile("../../docs/requests.md")
	if err != nil {
		t.Fatal(err)
	}
	devices := map[string]func(*simulator.Pty){
		"psu": func(d *simulator.Pty) {
			answerLines(d, '\n', map[string]string{"*IDN?": "Example Instruments,PSU-3005,1234,2.1\n", "MEAS:VOLT?": "4.998\n"})
		},
		"modem": func(d *simulator.Pty) {
			answerLines(d, '\r', map[string]string{"AT+CSQ": "\r\n+CSQ: 21,0\r\n\r\nOK\r\n"})
		},
		"plc": answerModbus,
	}
	config := "broker: {listen: 127.0.0.1:0}\nports:\n"
	for name, play := range devices {
		device, err := simulator.Open()
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		t.Cleanup(func() { _ = device.Close(); <-ended })
		go func() { defer close(ended); play(device) }()
		settings := regexp.MustCompile("`(" + name + `: \{device: )[^,}]*(.*\})` + "`").FindSubmatch(text)
		if settings == nil {
			t.Fatalf("there are no settings for port %s", name)
		}
		config += fmt.Sprintf("  %s%s%s\n", settings[1], device.Path(), settings[2])
	}
	g := &gateway{dir: t.TempDir(), programs: programs}
	if err := os.WriteFile(filepath.Join(g.dir, "c.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	g.program = g.background(t, "run", "--config", filepath.Join(g.dir, "c.yaml"))
	waitUntil(t, "all ports are open", func() bool {
		s, err := g.status()
		return err == nil && s.Ready && len(s.Ports) == len(devices) && !bytes.Contains(g.mustRun(t, nil, "status"), []byte("closed"))
	})
	examples := regexp.MustCompile("(?s)```\n\\$ (supervisor request [^\n]*)\n(.*?)```").FindAllSubmatch(text, -1)
	if len(examples) < 4 {
		t.Fatalf("there are %d examples only", len(examples))
	}
	for _, e := range examples {
		cmd := exec.Command("sh", "-c", `eval "$(supervisor env --role send --state-dir `+filepath.Join(g.dir, "state")+`)"; `+string(e[1]))
		cmd.Dir, cmd.Env = g.dir, append(os.Environ(), "PATH="+g.programs+":"+os.Getenv("PATH"), "GORACE="+raceOptions)
		got, err := cmd.CombinedOutput()
		if want := string(e[2]); err != nil || strings.ReplaceAll(string(got), "\r\n", "\n") != want {
			t.Errorf("%s prints %q, %v, want %q", e[1], got, err, want)
		}
	}
}

// answerLines is a device that answers lines with a certain end.
func answerLines(d *simulator.Pty, end byte, answers map[string]string) {
	for in := bufio.NewReader(d); ; {
		line, err := in.ReadString(end)
		if err != nil {
			return
		}
		if _, err := d.Write([]byte(answers[strings.TrimSuffix(line, string(end))])); err != nil {
			return
		}
	}
}

// answerModbus is unit 17 of a Modbus RTU line with holding registers 107 and 108. It answers what is meant for it and
// has the right checksum; see Modbus over serial line, specification and implementation guide V1.02.
func answerModbus(d *simulator.Pty) {
	registers := map[uint16]uint16{107: 215, 108: 216}
	request := make([]byte, 64)
	for {
		n, err := d.Read(request)
		if err != nil {
			return
		}
		if r := request[:n]; n != 8 || r[0] != 17 || r[1] != 3 || binary.LittleEndian.Uint16(r[6:]) != modbusCRC(r[:6]) {
			continue
		}
		first, count := binary.BigEndian.Uint16(request[2:]), binary.BigEndian.Uint16(request[4:])
		answer := []byte{17, 3, byte(2 * count)}
		for i := range count {
			answer = binary.BigEndian.AppendUint16(answer, registers[first+i])
		}
		if _, err := d.Write(binary.LittleEndian.AppendUint16(answer, modbusCRC(answer))); err != nil {
			return
		}
	}
}

func modbusCRC(b []byte) uint16 {
	sum := uint16(0xFFFF)
	for _, c := range b {
		sum ^= uint16(c)
		for range 8 {
			odd := sum&1 != 0
			if sum >>= 1; odd {
				sum ^= 0xA001
			}
		}
	}
	return sum
}
