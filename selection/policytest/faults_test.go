// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package policytest

import (
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	_ "github.com/ballast-lb/caddy-ballast/pool"
	"github.com/ballast-lb/caddy-ballast/selection"
)

func init() { caddy.RegisterModule(new(faulty)) }

// faulty is a policy with a fault that the environment names.
type faulty struct{ selection.Adapter }

func (*faulty) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: namespace + ".faulty", New: func() caddy.Module { return new(faulty) }}
}

func (p *faulty) Provision(ctx caddy.Context) error { return p.SetUp(ctx, "faulty", p) }

func (p *faulty) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	options := p.Options()
	if os.Getenv("FAULT") == "no weights" {
		delete(options, "weights")
	}
	return options.Parse(d)
}

func (*faulty) Prepare(g selection.Group) selection.Picker { return &picker{size: g.Len()} }

// turn is the position of the rotation.
var turn atomic.Uint32

type picker struct {
	size int
	kept []byte
}

func (p *picker) Pick(c selection.Candidates, _ *http.Request) int {
	fault := os.Getenv("FAULT")
	if fault == "allocates" {
		p.kept = make([]byte, 64)
	}
	best := -1
	for i := range p.size {
		switch {
		case fault == "ignores what is usable" && c.Weight(i) > 0:
			return i
		case !c.Usable(i):
		case best < 0 || fault != "first of all" && c.Load(i) < c.Load(best):
			best = i
		}
	}
	if fault == "first of all" || best < 0 {
		return best
	}
	for range p.size { // rotate among equal backends
		i := int(turn.Add(1)) % p.size
		if c.Usable(i) && c.Load(i) <= c.Load(best) {
			return i
		}
	}
	return best
}

// The suite detects each of these faults, and passes without a fault.
func TestFaultsAreFound(t *testing.T) {
	if os.Getenv("POLICY") != "" { // in the process that this test starts
		Run(t, Policy{Caddyfile: "faulty"})
		return
	}
	for fault, want := range map[string]string{
		"": "", "no weights": "add your options to those of Options", "first of all": "want some to each of 4",
		"allocates": "allocations for a pick", "ignores what is usable": "",
	} {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestFaultsAreFound$")
		cmd.Env = append(os.Environ(), "POLICY=faulty", "FAULT="+fault)
		out, err := cmd.CombinedOutput()
		failed := err != nil
		if failed != (fault != "") || !strings.Contains(string(out), want) {
			t.Errorf("%q: %v, want %q in\n%s", fault, err, want, out)
		}
	}
}
