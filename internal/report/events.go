// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/event"
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
)

// Event is an event in the response of GET /ballast/events. Its name is the name of Caddy's event.
type Event struct {
	// Sequence numbers the events of this process from 1, in the order in which they happened.
	Sequence uint64    `json:"sequence"`
	Event    string    `json:"event"` // name of the event
	At       time.Time `json:"at"`    // time of the event
	// Level is warn for events that an operator should look at, else info.
	Level string `json:"level"`
	// Data is the data of Caddy's event: pool, backend, address, reason and so on.
	Data map[string]any `json:"data"`
}

// Events is the response to GET /ballast/events?last=<n>.
type Events struct {
	Events []Event `json:"events"` // the oldest first
	// Sequence is the sequence number of the latest event of this process. It decreases when Caddy was
	// restarted.
	Sequence uint64 `json:"sequence"`
}

// OfEvent returns the report of an event.
func OfEvent(e event.Event) Event {
	level := "info"
	if e.Warning() {
		level = "warn"
	}
	return Event{e.Sequence, e.Name, e.At, level, e.Data}
}

// OfEvents returns the kept events that a query selects: the latest ones, at most last of them, that
// match pool and backend and came after the sequence number after. It returns an error for a
// malformed query.
func OfEvents(query url.Values) (out Events, err error) {
	if err := httpx.CheckQuery(query, "after", "backend", "last", "pool"); err != nil {
		return out, err
	}
	last := event.MaxKept
	if text := query.Get("last"); query.Has("last") {
		if last, err = strconv.Atoi(text); err != nil || last < 1 || last > event.MaxKept {
			return out, fmt.Errorf("last must be a number from 1 to %d, got %q", event.MaxKept, text)
		}
	}
	after, err := afterOf(query, "the sequence number of an event")
	if err != nil {
		return out, err
	}
	pool, backend := query.Get("pool"), query.Get("backend")
	kept, sequence := event.Kept(last, func(e *event.Event) bool {
		return e.Sequence > after && (pool == "" || pool == e.Data["pool"]) && (backend == "" || backend == e.Data["backend"])
	})
	out = Events{Events: []Event{}, Sequence: sequence}
	for _, e := range kept {
		out.Events = append(out.Events, OfEvent(e))
	}
	return out, nil
}

// afterOf returns the number after which a query begins, 0 without one.
func afterOf(query url.Values, what string) (after uint64, err error) {
	if text := query.Get("after"); query.Has("after") {
		if after, err = strconv.ParseUint(text, 10, 64); err != nil {
			return 0, fmt.Errorf("after must be %s, got %q", what, text)
		}
	}
	return after, nil
}
