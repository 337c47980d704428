package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// TestMetricNames compares the names that a gateway gives with Prometheus' conventions, with the table in docs/metrics.md,
// and with what the dashboard and the alert rules use.
func TestMetricNames(t *testing.T) {
	g := newPluggedGateway(t).measured(t)
	path := filepath.Join(g.dir, "c.yaml")
	config, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	g.write(t, strings.Replace(string(config), "broker: {", "broker: {leaf: {urls: [\"nats://127.0.0.1:1\"]}, ", 1))
	g.run(t)
	var body string
	waitUntil(t, "the history has begun", func() bool {
		var code int
		code, body = g.get(t, "/metrics")
		return code == http.StatusOK && strings.Contains(body, "serialvisor_history_first_timestamp_seconds ")
	})
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "serialvisor_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	rows := tableOf(body)
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := regexp.MustCompile("(?m)^\\| `serialvisor_.*$").FindAllString(string(text), -1)
	if !slices.Equal(rows, documented) {
		t.Errorf("the table in docs/metrics.md is not what the gateway says:\n%s", strings.Join(rows, "\n"))
	}
	for _, path := range []string{"grafana/serialvisor.json", "prometheus/alerts.yaml", "prometheus/alerts_test.yaml"} {
		text, err := os.ReadFile(filepath.Join("../../packaging", path))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(path, ".json") && !json.Valid(text) {
			t.Errorf("%s is not JSON", path)
		}
		names := regexp.MustCompile(`\bserialvisor_\w+`).FindAllString(string(text), -1)
		if len(names) < 10 {
			t.Errorf("%s uses %d metrics", path, len(names))
		}
		for _, name := range names {
			if !strings.Contains(body, "# TYPE "+name+" ") {
				t.Errorf("%s uses %s, which there is not", path, name)
			}
		}
	}
}

// tableOf writes our own metrics as rows of a table in Markdown.
func tableOf(body string) (rows []string) {
	metric := regexp.MustCompile(`# HELP (serialvisor_\w+) (.*)\n# TYPE \w+ (\w+)\n\w+(\{.*\})? `)
	label := regexp.MustCompile(`(\w+)="`)
	for _, m := range metric.FindAllStringSubmatch(body, -1) {
		var labels []string
		for _, l := range label.FindAllStringSubmatch(m[4], -1) {
			labels = append(labels, "`"+l[1]+"`")
		}
		if labels == nil {
			labels = []string{"–"}
		}
		rows = append(rows, fmt.Sprintf("| `%s` | %s | %s | %s |", m[1], m[3], strings.Join(labels, ", "), m[2]))
	}
	return rows
}
