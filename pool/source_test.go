// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

func init() { caddy.RegisterModule(new(oddSource)) }

// oddSource is a third-party source that does what none should.
type oddSource struct {
	World string `json:"world,omitempty"`
}

// oddWorld is what the sources of a test do.
type oddWorld struct {
	calls, running atomic.Int32
	answer         func() []*reverseproxy.Upstream
}

var oddWorlds sync.Map // by name

func (*oddSource) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.upstreams.odd", New: func() caddy.Module { return new(oddSource) }}
}

func (s *oddSource) GetUpstreams(*http.Request) ([]*reverseproxy.Upstream, error) {
	v, _ := oddWorlds.Load(s.World)
	w := v.(*oddWorld)
	w.calls.Add(1)
	w.running.Add(1)
	defer w.running.Add(-1)
	return w.answer(), nil
}

func loadOdd(t *testing.T, w *oddWorld) *lbtest.Proxy {
	t.Helper()
	oddWorlds.Store(t.Name(), w)
	return load(t, nil, proxy("wrr", fmt.Sprintf(`"name":"web",%s,"refresh":"1s","sources":[{"source":"odd","world":%q}]`, dials("a:1"), t.Name())))
}

// A source that does not return, whatever its context says, is called once, and not again until it has returned.
func TestSourceThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan bool)
		w := &oddWorld{answer: func() []*reverseproxy.Upstream { <-gate; return []*reverseproxy.Upstream{{Dial: "b:1"}} }}
		p := loadOdd(t, w)
		seconds(600)
		if calls, running := w.calls.Load(), w.running.Load(); calls != 1 || running != 1 {
			t.Errorf("%d calls in 10 minutes, of which %d go on, want 1", calls, running)
		}
		if got := strings.Join(p.Logged("error"), "\n"); !strings.Contains(got, "discovery failed; keeping the last known backends") {
			t.Errorf("logged %q", got)
		}
		expectServed(t, p, "a:1")
		close(gate)
		seconds(10)
		expectServed(t, p, "a:1", "b:1")
		p.Close()
	})
	lbtest.NoLeaks(t)
}

// A source that returns no upstream where one should be ends in an error, and not the process.
func TestSourceThatReturnsNil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := loadOdd(t, &oddWorld{answer: func() []*reverseproxy.Upstream { return []*reverseproxy.Upstream{nil} }})
		seconds(3)
		expectServed(t, p, "a:1")
		p.Close()
	})
	lbtest.NoLeaks(t)
}
