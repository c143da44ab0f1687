// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook"
	_ "github.com/ballast-lb/caddy-ballast/pool"
	_ "github.com/ballast-lb/caddy-ballast/selection"
)

func newSender(t *testing.T, backends lbtest.Backends) *proxyhook.Sender {
	t.Helper()
	var s *proxyhook.Sender
	_, err := lbtest.LoadConfig(t, nil, backends, func(ctx caddy.Context) (err error) {
		s, err = proxyhook.NewSender(ctx, json.RawMessage(`{"source":"pool","backends":[{"dial":"a:1"},{"dial":"b:1","weight":0}]}`), json.RawMessage(`{"protocol":"lbtest"}`))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func template(t *testing.T) *http.Request {
	t.Helper()
	req := httptest.NewRequest(http.MethodPost, "http://x/", nil)
	return proxyhook.Template(lbtest.Prepare(req, caddy.NewReplacer(), httptest.NewRecorder()))
}

// Who is told gets the request, eligible or not, and each try counts as what it is.
func TestSenderSendsWhereItIsTold(t *testing.T) {
	s := newSender(t, lbtest.Backends{"a:1": lbtest.Refused, "b:1": lbtest.Latency(0)})
	for _, tt := range []struct {
		address string
		wanted  bool
		fails   bool
	}{{"a:1", true, true}, {"b:1", true, false}, {"b:1", false, false}} {
		b, w := s.Pool().Find(tt.address), httptest.NewRecorder()
		before := b.Totals()
		var header http.Header
		err := s.Send(w, template(t), &proxyhook.Directed{Backend: b, Answered: func(res *http.Response) *http.Response {
			header = res.Header
			if b.InFlight() != 1 {
				t.Errorf("%d in flight while it is answered, want 1", b.InFlight())
			}
			if tt.wanted {
				return res
			}
			return nil
		}})
		if (err != nil) != tt.fails {
			t.Errorf("%s: %v", tt.address, err)
		}
		if !tt.fails && header.Get("X-Upstream") != tt.address {
			t.Errorf("%s: answered with %v", tt.address, header)
		}
		if got := w.Header().Get("X-Upstream"); tt.wanted && !tt.fails && got != tt.address {
			t.Errorf("%s: the client got %q", tt.address, got)
		}
		now := b.Totals()
		if now.Requests != before.Requests+1 || now.InFlight != 0 || b.InFlight() != 0 || (now.Failures[outlier.Refused]+now.Failures[outlier.Protocol] > 0) != tt.fails {
			t.Errorf("%s: counted %+v", tt.address, now)
		}
	}
}

// A template outlives its request, and shares nothing that others write to.
func TestTemplateOutlivesItsRequest(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	req := httptest.NewRequest(http.MethodGet, "http://x/", nil).WithContext(ctx)
	req.Header.Set("Connection", "close, X-Hop")
	req.Header.Set("X-Hop", "1")
	req.Header.Set("Upgrade", "x")
	req.Header.Set("Expect", "100-continue")
	r := proxyhook.Template(lbtest.Prepare(req, caddy.NewReplacer(), httptest.NewRecorder()))
	cancel()
	if r.Context().Err() != nil || len(r.Header) != 0 {
		t.Errorf("%v, %v", r.Context().Err(), r.Header)
	}
}

// A transport that panics fails the try, and takes nobody with it.
func TestSenderSurvivesPanics(t *testing.T) {
	s := newSender(t, lbtest.Backends{"b:1": func(*http.Request) (int, error) { panic("oh") }})
	b := s.Pool().Find("b:1")
	err := s.Send(httptest.NewRecorder(), template(t), &proxyhook.Directed{Backend: b, Answered: func(res *http.Response) *http.Response { return res }})
	if err == nil || b.Totals().InFlight != 0 || b.InFlight() != 0 {
		t.Errorf("%v, %d in flight", err, b.InFlight())
	}
	if errors.Is(err, proxyhook.ErrAborted) {
		t.Error("it is taken for an answer that was broken off")
	}
}
