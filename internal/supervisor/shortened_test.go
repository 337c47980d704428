package supervisor

import (
	"strings"
	"testing"
)

// What a worker says of itself comes to terminals, and must not be able to play with them.
func TestShortened(t *testing.T) {
	for text, want := range map[string]string{
		"at work":                "at work",
		"21.5 °C…":               "21.5 °C…",
		"\x1b[2J\x1b]0;x\a":      `\x1b[2J\x1b]0;x\a`,
		"a\tb\rc\u009bd\u202ee":  `a\tb\rc\u009bd\u202ee`,
		"no \xff text":           "no \uFFFD text",
		strings.Repeat("é", 200): strings.Repeat("é", 101) + "…",
	} {
		if got := shortened(text); got != want {
			t.Errorf("shortened(%q) = %q, want %q", text, got, want)
		}
	}
}
