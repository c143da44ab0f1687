// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// patience bounds how long a test waits for what must come.
const patience = 20 * time.Second

// watching is a source that is watched, and what it pushes.
type watching struct {
	t       *testing.T
	updates chan Update
	ended   chan error
}

// watch provisions a source and watches it until the test ends.
func watch(t *testing.T, s interface {
	Source
	caddy.Provisioner
}) *watching {
	t.Helper()
	if err := s.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	w := &watching{t, make(chan Update, 1000), make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { w.ended <- s.Watch(ctx, func(u Update) { w.updates <- u }) }()
	t.Cleanup(func() {
		cancel()
		select {
		case <-w.ended:
		case <-time.After(patience):
			t.Error("Watch does not end with its context")
		}
	})
	return w
}

// until waits for an update whose backends are as described: their addresses with what differs from
// the defaults, sorted and joined by blanks.
func (w *watching) until(want string) Update {
	w.t.Helper()
	got := "none"
	late := time.After(patience)
	for {
		select {
		case u := <-w.updates:
			if err := u.Prepare(); err != nil {
				w.t.Fatal(err)
			}
			if got = describe(u.Endpoints); got == want {
				return u
			}
		case err := <-w.ended:
			w.ended <- err
			w.t.Fatalf("the watch ended with %v after %q, want %q", err, got, want)
		case <-late:
			w.t.Fatalf("the latest backends are %q, want %q", got, want)
		}
	}
}

// fails waits for the end of the watch, and returns its error.
func (w *watching) fails() error {
	w.t.Helper()
	select {
	case err := <-w.ended:
		w.ended <- err
		return err
	case <-time.After(patience):
		w.t.Fatal("the watch does not end")
		return nil
	}
}

func describe(all []Endpoint) string {
	var texts []string
	for _, e := range all {
		text := e.Address
		if e.ID != e.Address {
			text += " id=" + e.ID
		}
		if e.Instance != "" {
			text += " instance=" + e.Instance
		}
		if e.Weight != nil {
			text += fmt.Sprint(" weight=", *e.Weight)
		}
		if e.Tier != 0 {
			text += fmt.Sprint(" tier=", e.Tier)
		}
		if e.Zone != "" {
			text += " zone=" + e.Zone
		}
		if e.Draining {
			text += " draining"
		}
		for _, key := range slices.Sorted(maps.Keys(e.Meta)) {
			text += " " + key + "=" + e.Meta[key]
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, "; ")
}

func TestPrepare(t *testing.T) {
	end := func(address, id string, draining bool) Endpoint {
		return Endpoint{Address: address, Draining: draining, Settings: Settings{ID: id}}
	}
	u := Update{Endpoints: []Endpoint{
		end("10.0.0.3:80", "web-0", true), // the pod before
		end("10.0.0.4:80", "web-0", false),
		end("10.0.0.2:80", "", false),
		end("10.0.0.1:80", "a", true), end("10.0.0.1:80", "b", false), // it moves to another slice
		{Address: "10.0.0.5:80", Settings: Settings{Tier: -1}},
		{},
	}, Ignored: map[string]string{"x": "no port"}}
	if err := u.Prepare(); err != nil {
		t.Fatal(err)
	}
	const want = "10.0.0.1:80 id=b; 10.0.0.2:80; 10.0.0.3:80 draining; 10.0.0.4:80 id=web-0"
	if got := describe(u.Endpoints); got != want || len(u.Ignored) != 3 {
		t.Errorf("%q, ignored %v; want %q", got, u.Ignored, want)
	}
	if err := (&Update{Endpoints: make([]Endpoint, maxEndpoints+1)}).Prepare(); err == nil {
		t.Error("any number of backends is accepted")
	}
}
