// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// An event is one line, which says nothing twice and does nothing to a terminal.
func TestEventLine(t *testing.T) {
	at := time.Date(2026, 11, 21, 18, 0, 0, 0, time.UTC)
	for want, e := range map[string]Event{
		`2026-11-21 18:00:00  backend_down  web/a  address=10.0.0.1:80  check=http  reason="status 503, expected 2xx"`: {
			Event: "backend_down", At: at, Data: map[string]any{"pool": "web", "backend": "a", "address": "10.0.0.1:80", "check": "http", "reason": "status 503, expected 2xx"},
		},
		`2026-11-21 18:00:00  backend_up  web/a:1`: {
			Event: "backend_up", At: at, Data: map[string]any{"pool": "web", "backend": "a:1", "address": "a:1", "reason": ""},
		},
		`2026-11-21 18:00:00  pool_panic_on  web  reason="1 of 4"`: {
			Event: "pool_panic_on", At: at, Data: map[string]any{"pool": "web", "reason": "1 of 4"},
		},
		`2026-11-21 18:00:00  fleet_left  -  instance=lb2`: {Event: "fleet_left", At: at, Data: map[string]any{"instance": "lb2"}},
		`2026-11-21 18:00:00  backend_down  web/a [2J`:     {Event: "backend_down", At: at, Data: map[string]any{"pool": "web", "backend": "a\x1b[2J"}},
	} {
		if got := eventLine(e, time.UTC); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// lines collects what a command prints. Safe for concurrent use.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Followed events are printed once each, in their order, also when Caddy is away for a while and
// then counts anew.
func TestEventsFollowOverRestarts(t *testing.T) {
	var mu sync.Mutex
	var kept []Event
	happen := func(names ...string) {
		mu.Lock()
		defer mu.Unlock()
		for _, name := range names {
			kept = append(kept, Event{Sequence: uint64(len(kept) + 1), Event: name, Data: map[string]any{"pool": "web"}})
		}
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		out := Events{Events: []Event{}, Sequence: uint64(len(kept))}
		after, _ := strconv.Atoi(r.FormValue("after"))
		if after < len(kept) {
			out.Events = append(out.Events, kept[after:]...)
		}
		if last, _ := strconv.Atoi(r.FormValue("last")); len(out.Events) > last {
			out.Events = out.Events[len(out.Events)-last:]
		}
		_ = json.NewEncoder(w).Encode(out)
	})
	first := httptest.NewServer(handler)
	address := first.Listener.Addr().String()

	happen("one", "two", "three")
	var out, errs lines
	root := &cobra.Command{Use: "ballast"}
	newCommand(root)
	root.SetOut(&out)
	root.SetErr(&errs)
	root.SetArgs([]string{"events", "--follow", "--last", "2", "--address", address})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- root.ExecuteContext(ctx) }()
	await := func(what string) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			var names []string
			for line := range strings.Lines(out.String()) {
				names = append(names, strings.Fields(line)[2])
			}
			if got := strings.Join(names, " "); got == what {
				return
			} else if time.Now().After(end) {
				t.Fatalf("got %q, want %q\n%s", got, what, &errs)
			}
		}
	}
	await("two three")
	happen("four")
	await("two three four")
	first.Close()
	for end := time.Now().Add(10 * time.Second); !strings.Contains(errs.String(), "cannot reach"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nothing was said of a Caddy that is away")
		}
	}
	mu.Lock()
	kept = nil
	mu.Unlock()
	happen("five", "six")
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	second := &httptest.Server{Listener: l, Config: &http.Server{Handler: handler}}
	second.Start()
	defer second.Close()
	await("two three four five six")
	stop()
	if err := <-done; err == nil || strings.Count(errs.String(), "cannot reach") != 1 {
		t.Errorf("%v\n%s", err, &errs)
	}
}
