// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shedder_test

import (
	"encoding/json"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/shedder"
)

func init() {
	caddy.RegisterModule(new(foreignLimiter))
	caddy.RegisterModule(new(noLimiter))
}

// foreignLimiter is a limiter of another repository. It lowers the limit by one in each window,
// down to 3, and then shows its fault.
type foreignLimiter struct {
	Limit int    `json:"limit,omitempty"`
	Fault string `json:"fault,omitempty"`
}

func (*foreignLimiter) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ballast.limiters.foreign", New: func() caddy.Module { return new(foreignLimiter) }}
}

func (l *foreignLimiter) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	l.Limit = 7
	if !d.Args(&l.Fault) {
		return d.ArgErr()
	}
	return nil
}

func (l *foreignLimiter) NewAlgorithm() shedder.Algorithm { return &foreignAlgorithm{l} }

type foreignAlgorithm struct{ *foreignLimiter }

func (a *foreignAlgorithm) Start() float64 { return float64(a.Limit) }

func (a *foreignAlgorithm) Next(w shedder.Window) (float64, shedder.Reason) {
	if w.Limit > 3 && w.Limit < 1000 {
		return w.Limit - 1, shedder.ReasonSlow
	}
	switch a.Fault {
	case "panic":
		panic("broken algorithm")
	case "NaN":
		return math.NaN(), shedder.ReasonIdle
	case "huge":
		return math.Inf(1), "a reason of its own"
	}
	return -1, shedder.ReasonDrops
}

// noLimiter is a module in the namespace of limiters that is not a limiter.
type noLimiter struct{}

func (*noLimiter) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ballast.limiters.none", New: func() caddy.Module { return new(noLimiter) }}
}

// A limiter of another repository sets the limit. An invalid limit, or a panic, leaves it valid.
func TestLimiterOfAnotherRepository(t *testing.T) {
	for fault, want := range map[string]float64{"": 1, "panic": 3, "NaN": 3, "huge": 1_000_000} {
		t.Run(fault, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newSite(t, `{"limiter":{"limiter":"foreign","limit":5,"fault":"`+fault+`"},"queue":{"size":10}}`, poolProxy, newThree().backends())
				if got := s.Metric(t, "caddy_ballast_shed_limit"); got != 5 {
					t.Errorf("the limit begins at %v, want 5", got)
				}
				for range 5 { // windows of at least 30 answers
					for range 100 {
						if r := s.do(httptest.NewRequest(http.MethodGet, "http://lbtest/", nil)); r.status != 200 {
							t.Fatalf("%+v", r)
						}
					}
				}
				time.Sleep(time.Second)
				if got := s.Metric(t, "caddy_ballast_shed_limit"); got != want {
					t.Errorf("the limit is %v, want %v", got, want)
				}
			})
		})
	}
}

// Metrics have no base for a limiter that measures none, and a module that is not a limiter is
// rejected.
func TestForeignLimiterModules(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := lbtest.NewProxy(t, poolProxy, newThree().backends())
		load(t, p, `{"limiter":{"limiter":"foreign","limit":5}}`)
		ctx := p.Context()
		for _, shown := range p.Samples(t, "caddy_ballast_shed_base") {
			t.Errorf("the metrics have a base, %v, of a limiter that measures none", shown)
		}
		_, err := ctx.LoadModuleByID("http.handlers.shed", json.RawMessage(`{"limiter":{"limiter":"none"}}`))
		if err == nil || !strings.Contains(err.Error(), "*shedder_test.noLimiter is not a limiter") {
			t.Errorf("got %v", err)
		}
	})
}

// A Caddyfile names a limiter of another repository as an algorithm.
func TestForeignLimiterInCaddyfile(t *testing.T) {
	for tokens, want := range map[string]string{
		"shed {\n algorithm foreign NaN\n}":                 `{"fault":"NaN","limit":7,"limiter":"foreign"}`,
		"shed adaptive {\n algorithm foreign NaN\n}":        `{"fault":"NaN","limit":7,"limiter":"foreign"}`,
		"shed {\n algorithm foreign\n}":                     "error: wrong argument count",
		"shed fixed 3 {\n algorithm foreign NaN\n}":         "error: algorithm is an option of",
		"shed {\n algorithm foreign NaN\n max_limit 3\n}":   "error: max_limit is an option of gradient, vegas, aimd, not of foreign",
		"shed {\n algorithm none\n}":                        `error: algorithm "none" cannot be written in a Caddyfile`,
		"shed {\n algorithm foreign x\n algorithm vegas\n}": `error: option "algorithm" is given twice`,
	} {
		h := new(shedder.Handler)
		got := ""
		if err := h.Unmarshal(caddyfile.NewTestDispenser(tokens), nil); err != nil {
			got = "error: " + err.Error()
		} else {
			got = string(h.LimiterRaw)
		}
		if !strings.HasPrefix(got, want) {
			t.Errorf("%q: got %s, want %s", tokens, got, want)
		}
	}
}

// Each limiter of this package has a syntax in the Caddyfile: as an algorithm or as a mode.
func TestEachLimiterIsInTheCaddyfile(t *testing.T) {
	for _, name := range lbtest.Modules("ballast.limiters") {
		written := false
		for _, tokens := range []string{"shed " + name + " 10", "shed {\n algorithm " + name + "\n}"} {
			h := new(shedder.Handler)
			if err := h.Unmarshal(caddyfile.NewTestDispenser(tokens), matcherToken); err == nil {
				written = written || strings.Contains(string(h.LimiterRaw), `"`+name+`"`)
			}
		}
		if !written {
			t.Errorf("limiter %s has no syntax in the Caddyfile", name)
		}
	}
}
