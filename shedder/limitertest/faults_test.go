// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package limitertest

import (
	"math"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/shedder"
)

func init() { caddy.RegisterModule(new(faulty)) }

// faulty is a limiter with a fault that the environment names.
type faulty struct{ shared *algorithm }

func (*faulty) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ballast.limiters.faulty", New: func() caddy.Module { return new(faulty) }}
}

func (*faulty) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() || d.NextBlock(0) {
		return d.ArgErr()
	}
	return nil
}

func (f *faulty) NewAlgorithm() shedder.Algorithm {
	if os.Getenv("FAULT") != "shared" {
		return &algorithm{20}
	}
	if f.shared == nil {
		f.shared = &algorithm{20}
	}
	return f.shared
}

type algorithm struct{ limit float64 }

func (a *algorithm) Start() float64 { return a.limit }

func (a *algorithm) Next(w shedder.Window) (float64, shedder.Reason) {
	switch fault := os.Getenv("FAULT"); {
	case fault == "no number" && w.Answers == 0:
		return math.NaN(), shedder.ReasonIdle
	case fault == "grows for ever":
		a.limit++
	case fault == "never grows" && w.Drops == 0:
	case w.Drops > 0:
		a.limit = max(1, 0.9*w.Limit)
	case w.Refused > 0:
		a.limit = w.Limit + 1 + w.Limit/50
	}
	return a.limit, shedder.ReasonSteady
}

// The suite detects each of these faults, and passes without a fault.
func TestFaultsAreFound(t *testing.T) {
	if os.Getenv("LIMITER") != "" { // in the process that this test starts
		Run(t, Limiter{Caddyfile: "faulty"})
		return
	}
	for fault, want := range map[string]string{
		"": "", "shared": "a new algorithm starts at", "no number": "Next returns NaN",
		"grows for ever": "beyond which they refuse", "never grows": "when there are 50 again",
	} {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestFaultsAreFound$")
		cmd.Env = append(os.Environ(), "LIMITER=faulty", "FAULT="+fault)
		out, err := cmd.CombinedOutput()
		if (err != nil) != (want != "") || !strings.Contains(string(out), want) {
			t.Errorf("%q: %v, want %q in\n%s", fault, err, want, out)
		}
	}
}
