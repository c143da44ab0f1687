// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/panics"
)

// Policy is what a policy of another repository implements. Its module is a
// reverseproxy.Selector in the namespace http.reverse_proxy.selection_policies, which
// embeds [Adapter], and whose Provision calls SetUp. Package policytest tests it.
type Policy interface {
	// Prepare derives, for a group of backends, what picks need. It is called whenever
	// the backends of a group, their health or their weights change: off the request
	// path in a pool, and in a request for a list of upstreams.
	Prepare(g Group) Picker
}

// Picker picks among the backends of the group that it was prepared for. It must be safe
// for concurrent use, and should neither lock nor allocate.
type Picker interface {
	// Pick returns the index in the group of a usable candidate for the request, or -1
	// if there is none. Another request may take the last slot of that candidate first;
	// then Pick is called again.
	Pick(c Candidates, r *http.Request) int
}

// Peeker is what a [Picker] also is whose picks change what it picks next. For others
// `caddy ballast explain` calls Pick.
type Peeker interface {
	Picker
	// Peek returns a picker that picks as this one would, for one pick that this one is
	// not to know of.
	Peek() Picker
}

// Scorer is what a [Picker] also is that tells what it goes by, for the admin API.
type Scorer interface {
	Picker
	// Score returns what it goes by for candidate i, by name.
	Score(c Candidates, i int, r *http.Request) map[string]float64
}

// Backend is what is known of a backend in advance.
type Backend struct {
	// ID and Address are its name, and where it is dialed.
	ID, Address string
	// Weight is its effective weight, 0 or more. In a group not all are 0.
	Weight float64
	// Meta is as in the pool's configuration. Read-only.
	Meta map[string]string
}

// Group are backends that share the requests: a tier of a pool, or a list of upstreams.
type Group struct{ group group }

// Len returns the number of backends.
func (g Group) Len() int { return len(g.group.backends) }

// Backend returns a backend, by its index.
func (g Group) Backend(i int) Backend {
	b := g.group.backends[i]
	return Backend{ID: b.ID, Address: b.Address, Weight: g.group.weights[i], Meta: b.Meta}
}

// Candidates are the backends of a group as one request finds them. They are valid until
// Pick returns.
type Candidates struct{ candidates candidates }

// Len returns the number of candidates, usable or not.
func (c *Candidates) Len() int { return c.candidates.len() }

// Usable reports whether candidate i can take the request: it is up, it has a free slot,
// and the request was not tried there.
func (c *Candidates) Usable(i int) bool { return c.candidates.usable(i) }

// Weight returns the effective weight of candidate i.
func (c *Candidates) Weight(i int) float64 { return c.candidates.weights[i] }

// InFlight returns the requests in flight of candidate i.
func (c *Candidates) InFlight(i int) int { return c.candidates.inFlight(i) }

// Load returns the requests in flight of candidate i, and more if its requests fail: what
// fails at once is not idle.
func (c *Candidates) Load(i int) float64 { return c.candidates.load(i) }

// Options are the options of a block in a Caddyfile. Each parses its arguments, with the
// dispenser at its name. Parse parses the block.
type Options = caddyfileutil.Options

// Options returns the options of every policy, for a policy to add its own. They set the
// fields of a.
func (a *Adapter) Options() Options { return a.options(nil) }

// SetUp readies the adapter to choose by a policy. The Provision of a policy calls it with
// its name, as metrics and explanations show it. It returns an error for weights that are
// out of bounds.
func (a *Adapter) SetUp(ctx caddy.Context, name string, p Policy) error {
	return a.provision(ctx, name, policyAlgorithm{p})
}

// Provision implements [caddy.Provisioner] for a policy that has no Provision of its own,
// which it needs.
func (*Adapter) Provision(caddy.Context) error {
	return errNotSetUp
}

var errNotSetUp = errors.New("the policy is not set up: its Provision method must call SetUp of the embedded selection.Adapter")

// policyAlgorithm is a policy of another repository.
type policyAlgorithm struct{ Policy }

// prepare implements [algorithm]. A policy that cannot prepare is replaced, since without
// a picker no request is served.
func (p policyAlgorithm) prepare(g group) (prepared picker) {
	defer func() {
		if r := recover(); r != nil {
			panics.Log("preparing a selection policy; it picks at random until the backends change", r)
			prepared = &weightedRandomPicker{newAlias(g.weights)}
		}
	}()
	of := p.Prepare(Group{g})
	if of == nil {
		panic("Prepare returned nil")
	}
	return policyPicker{of}
}

// policyPicker is a picker of another repository.
type policyPicker struct{ of Picker }

// pick implements [picker]. What is not usable is none.
func (p policyPicker) pick(c candidates, r *http.Request) int {
	i := p.of.Pick(Candidates{c}, r)
	if i < 0 || i >= c.len() || !c.usable(i) {
		return -1
	}
	return i
}

// peek implements [picker].
func (p policyPicker) peek() picker {
	if peeker, ok := p.of.(Peeker); ok {
		return policyPicker{peeker.Peek()}
	}
	return p
}

// score implements [picker].
func (p policyPicker) score(c *candidates, i int, r *http.Request) map[string]float64 {
	if scorer, ok := p.of.(Scorer); ok {
		return scorer.Score(Candidates{*c}, i, r)
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner = (*Adapter)(nil)
	_ algorithm         = policyAlgorithm{}
	_ picker            = policyPicker{}
)
