// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"slices"
	"strings"
)

// tellings are the events by what the log says of them.
var tellings = map[string]string{
	"backend is down":      "backend_down",
	"backend is up":        "backend_up",
	"backend is ejected":   "backend_ejected",
	"backend has returned": "backend_returned",
	"most backends fail a check at once while their traffic succeeds; the guard holds their last state": "pool_guard_on",
	"the guard no longer suppresses the check":                                                          "pool_guard_off",
}

// told returns what has happened to a backend, or with "" to a pool as a whole,
// in order: as the log tells it, and as events do. reasons are the latest of each.
func (c *caddyProcess) told(id string) (lines, events []string, reasons map[string]string) {
	reasons = make(map[string]string)
	for line := range strings.Lines(c.log.String()) {
		if !strings.Contains(line, `"ballast"`) && !strings.Contains(line, `"events"`) {
			continue
		}
		var entry struct {
			Logger, Msg, Backend, Name string
			Data                       struct{ Backend, Reason string }
		}
		_ = json.Unmarshal([]byte(line), &entry) // the last line may be half written
		switch {
		case entry.Logger == "ballast" && entry.Backend == id && tellings[entry.Msg] != "":
			lines = append(lines, tellings[entry.Msg])
		case entry.Logger == "events" && entry.Data.Backend == id && known(entry.Name):
			events = append(events, entry.Name)
			reasons[entry.Name] = entry.Data.Reason
		}
	}
	return lines, events, reasons
}

func known(event string) bool {
	return strings.HasPrefix(event, "backend_") || strings.HasPrefix(event, "pool_")
}

// reason returns why an event last came about.
func (c *caddyProcess) reason(id, event string) string {
	_, _, reasons := c.told(id)
	return reasons[event]
}

// history returns the events of a backend, or with "" of a pool, since Caddy was
// started, and checks that the log and the metrics agree with them. Nothing may
// happen to the backend meanwhile.
func (c *caddyProcess) history(id string) []string {
	c.t.Helper()
	var lines, events []string
	eventually(c.t, "events tell as much as the log of "+id, func() bool {
		lines, events, _ = c.told(id)
		return len(lines) == len(events)
	})
	if !slices.Equal(lines, events) {
		c.t.Errorf("%s: the log has %v, events are %v", id, lines, events)
	}
	if _, member := c.metric("up")[id]; !member {
		return events
	}
	n, isUp, isEjected := make(map[string]float64), 1.0, 0.0
	for _, event := range events {
		n[event]++
		switch event {
		case "backend_down":
			isUp = 0
		case "backend_up":
			isUp = 1
		case "backend_ejected":
			isEjected = 1
		case "backend_returned":
			isEjected = 0
		}
	}
	for name, want := range map[string]float64{
		"up": isUp, "transitions_total": n["backend_down"] + n["backend_up"],
		"ejected": isEjected, "ejections_total": n["backend_ejected"],
	} {
		if got := c.metric(name)[id]; got != want {
			c.t.Errorf("%s: metric %s is %v, which does not agree with the events %v", id, name, got, events)
		}
	}
	return events
}

// expectHistory checks the history of a backend, or with "" of a pool.
func (c *caddyProcess) expectHistory(id string, want ...string) {
	c.t.Helper()
	if got := c.history(id); !slices.Equal(got, want) {
		c.t.Errorf("the history of %s is %v, want %v", id, got, want)
	}
}
