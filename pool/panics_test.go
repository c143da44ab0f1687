// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
)

type brokenHandler struct{}

func (brokenHandler) Handle(context.Context, caddy.Event) error { panic("broken handler") }

// What panics in a probe, a source or a handler of events is logged with the stack,
// and stops nothing. Of a check that panics in each probe the first is logged.
func TestPanicsAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.found = []string{"a:1"}
		p := load(t, nil, proxy("wrr", `"name":"web",`+from(t, `,"refresh":"1s"`)+`,"guard":false,`+check(t, "")))
		seconds(0.5)
		mod, err := p.Context().App("events")
		if err != nil {
			t.Fatal(err)
		}
		if err := mod.(*caddyevents.App).On("backend_down", brokenHandler{}); err != nil {
			t.Fatal(err)
		}
		w.set(func() { w.broken = true })
		seconds(5)
		w.set(func() { w.broken = false })
		seconds(5)
		expectServed(t, p, "a:1")
		logged, stacks := p.Logged("error"), p.Logged("stack")
		for message, where := range map[string]string{
			"panic while probing a:1 broken check":         "(*fakeCheck).Probe",
			"panic while querying a source broken source":  "(*fakeSource).GetUpstreams",
			"panic while handling an event broken handler": "brokenHandler.Handle",
		} {
			i := slices.Index(logged, message)
			if i < 0 || !strings.Contains(stacks[i], where) {
				t.Errorf("no %q with a stack in %q", message, logged)
			}
		}
		if n := len(slices.DeleteFunc(logged, func(m string) bool { return !strings.Contains(m, "probing") })); n != 1 {
			t.Errorf("%d panics of probes are logged, want the first", n)
		}
	})
}
