package config

import "testing"

// TestListeners has addresses of which two cannot be listened on.
func TestListeners(t *testing.T) {
	const port = "\nports: {a: {device: x}}"
	for _, c := range []struct{ text, want string }{
		{"broker: {listen: 127.0.0.1:0, mqtt: {listen: 127.0.0.1:0}}", ""},
		{"broker: {listen: 127.0.0.1:4222, mqtt: {listen: 127.0.0.2:4222}}", ""},
		{"broker: {listen: 127.0.0.1:4222, mqtt: {listen: \"[::1]:4222\"}}", ""},
		{"broker: {insecure: true, listen: 0.0.0.0:4222, mqtt: {listen: \"[::1]:4222\"}}", ""},
		{"broker: {mqtt: {listen: 127.0.0.1:4222}}",
			`f:1:25: broker.mqtt.listen: "127.0.0.1:4222" cannot be listened on by broker.mqtt.listen and by broker.listen, which has 127.0.0.1:4222, without being told; choose another port`},
		{"broker: {listen: 127.0.0.1:5000,\n  websocket: {listen: localhost:5000}}",
			`f:2:23: broker.websocket.listen: "localhost:5000" cannot be listened on by broker.websocket.listen and by broker.listen, which has 127.0.0.1:5000, in line 1; choose another port`},
		{"broker: {websocket: {listen: 127.0.0.1:5000}, mqtt: {listen: 127.0.0.1:5000}}",
			`f:1:62: broker.mqtt.listen: "127.0.0.1:5000" cannot be listened on by broker.mqtt.listen and by broker.websocket.listen, which has 127.0.0.1:5000, in line 1; choose another port`},
		{"metrics: {listen: 127.0.0.1:5000}\nbroker: {insecure: true, listen: \":5000\"}",
			`f:2:34: broker.listen: ":5000" cannot be listened on by broker.listen and by metrics.listen, which has 127.0.0.1:5000, in line 1; choose another port`},
		{"broker: {insecure: true, listen: \"[::]:5000\"}\nmetrics: {listen: 127.0.0.1:5000}",
			`f:2:19: metrics.listen: "127.0.0.1:5000" cannot be listened on by metrics.listen and by broker.listen, which has [::]:5000, in line 1; choose another port`},
		{"broker: {listen: here}\nmetrics: {listen: 127.0.0.1:4222}",
			`f:1:18: broker.listen: "here" is not an address; write host:port, such as 127.0.0.1:4222, with port 0 for a free one`},
	} {
		wantProblems(t, c.text+port, c.want)
	}
}

func TestOrigins(t *testing.T) {
	const generic = " is not an origin, which is scheme://host[:port]; write one such as https://lab.example"
	for origin, want := range map[string]string{
		"https://lab.example": "", `"http://localhost:5173"`: "", `"https://[::1]:8443"`: "", "https://lab.example/": "",
		"http://localhost:5173":   `a mapping is not an origin such as "https://lab.example", in quotes`,
		"lab.example":             `"lab.example" is not an origin, which is scheme://host[:port]; write https://lab.example`,
		`"lab.example:8443"`:      `"lab.example:8443" is not an origin, which is scheme://host[:port]; write https://lab.example:8443`,
		"wss://lab.example":       `"wss://lab.example"` + generic,
		"https://lab.example/app": `"https://lab.example/app"` + generic,
		`"https://*.example"`:     `"https://*.example"` + generic,
		`"https://lab.example:"`:  `"https://lab.example:"` + generic,
		`"*"`:                     `"*"` + generic,
		"https://":                `"https://"` + generic,
	} {
		if want != "" {
			want = "f:1:56: broker.websocket.origins: " + want
		}
		wantProblems(t, "broker: {websocket: {listen: 127.0.0.1:8080, origins: ["+origin+"]}}\nports: {a: {device: x}}", want)
	}
}
