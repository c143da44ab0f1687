// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/backendtest"
)

// reservedFor returns a request for which a slot of b is reserved, and what ends it.
func reservedFor(t *testing.T, b *backend.Backend) (*http.Request, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req := lbtest.Prepare(httptest.NewRequestWithContext(ctx, http.MethodGet, "http://x/", nil), caddy.NewReplacer(), httptest.NewRecorder())
	c, ok := b.Reserve()
	if !ok || !c.Slot || b.Taken() != 1 {
		t.Fatal("the slot cannot be reserved")
	}
	SetAttempt(req, c, "test", 1)
	return req, cancel
}

// A slot that was reserved is given back once, whatever comes first: the end of the
// request's context, another selection, another run.
func TestReservationIsGivenBackOnce(t *testing.T) {
	for name, end := range map[string]func(*http.Request, context.CancelFunc){
		"the context ends":      func(_ *http.Request, cancel context.CancelFunc) { cancel() },
		"it is selected anew":   func(req *http.Request, _ context.CancelFunc) { Tried(req) },
		"another run begins":    func(req *http.Request, _ context.CancelFunc) { u := *req.URL; req.URL = &u; Refuse(req, nil, nil, "x") },
		"all at once":           func(req *http.Request, cancel context.CancelFunc) { go cancel(); Tried(req) },
		"another claim is held": func(req *http.Request, _ context.CancelFunc) { Hold(req, backend.Permit{}) },
		"again and again":       func(req *http.Request, cancel context.CancelFunc) { cancel(); Tried(req); Tried(req) },
	} {
		synctest.Test(t, func(t *testing.T) {
			b := backendtest.Limited()
			req, cancel := reservedFor(t, b)
			end(req, cancel)
			synctest.Wait()
			if n := b.Taken(); n != 0 {
				t.Errorf("%s: %d slots are taken", name, n)
			}
			cancel()
			Tried(req)
			synctest.Wait()
			if n := b.Taken(); n != 0 {
				t.Errorf("%s: given back twice: %d slots are taken", name, n)
			}
		})
	}
	b := backendtest.Limited()
	c, _ := b.Reserve()
	bare, _ := http.NewRequest(http.MethodGet, "/", nil)
	if SetAttempt(bare, c, "test", 1); b.Taken() != 0 {
		t.Error("a slot is held for a request that is none of Caddy's")
	}
}

// A transport that panics leaves nothing in flight.
func TestPanickingTransport(t *testing.T) {
	p := lbtest.NewProxy(t, config, lbtest.Backends{"a:1": func(*http.Request) (int, error) { panic("in the transport") }})
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is lost")
			}
		}()
		_, _ = p.Do(httptest.NewRequest(http.MethodGet, "http://x/", nil))
	}()
	if b := policyOf(p).backends["a:1"]; b.Totals().InFlight != 0 || b.Taken() != 0 {
		t.Errorf("%d in flight, %d slots taken", b.Totals().InFlight, b.Taken())
	}
}
