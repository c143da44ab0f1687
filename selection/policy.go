// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/panics"
)

// Policy is the interface of a policy in another repository. The module of the policy is a
// reverseproxy.Selector in the namespace http.reverse_proxy.selection_policies. It embeds
// [Adapter], and its Provision calls SetUp. Package policytest tests it.
type Policy interface {
	// Prepare returns a picker for a group of backends. It is called whenever the backends of a
	// group, their health or their weights change: off the request path in a pool, and during a
	// request for a list of upstreams.
	Prepare(g Group) Picker
}

// Picker picks among the backends of the group that it was prepared for. It must be safe for
// concurrent use, and should neither lock nor allocate.
type Picker interface {
	// Pick returns the index in the group of a usable candidate for the request, or -1 if there
	// is none. If another request takes the last slot of that candidate first, Pick is called
	// again.
	Pick(c Candidates, r *http.Request) int
}

// Peeker is implemented by a [Picker] whose picks change its later picks. For other pickers,
// `caddy ballast explain` calls Pick.
type Peeker interface {
	Picker
	// Peek returns a picker that makes one pick as this one would, without changing this one.
	Peek() Picker
}

// Scorer is implemented by a [Picker] that shows its criteria in the admin API.
type Scorer interface {
	Picker
	// Score returns the criteria for candidate i, by name.
	Score(c Candidates, i int, r *http.Request) map[string]float64
}

// Backend describes a backend of a group.
type Backend struct {
	// Settings are those of the configuration, discovery or registration. Read-only.
	backend.Settings
	// Address is the dial address.
	Address string
	// Weight is the effective weight, 0 or more. In a group at least one is above 0.
	Weight float64
}

// Group is a set of backends that share requests: a tier of a pool, or a list of upstreams.
type Group struct{ group group }

// Len returns the number of backends.
func (g Group) Len() int { return len(g.group.backends) }

// Backend returns the backend with an index.
func (g Group) Backend(i int) Backend {
	b := g.group.backends[i]
	return Backend{Settings: b.Settings, Address: b.Address, Weight: g.group.weights[i]}
}

// Candidates are the backends of a group as seen by one request. They are valid until Pick
// returns.
type Candidates struct{ candidates candidates }

// Len returns the number of candidates, usable or not.
func (c *Candidates) Len() int { return c.candidates.len() }

// Usable reports whether candidate i can take the request: it is up, it has a free slot, and
// the request was not tried there.
func (c *Candidates) Usable(i int) bool { return c.candidates.usable(i) }

// Weight returns the effective weight of candidate i.
func (c *Candidates) Weight(i int) float64 { return c.candidates.weights[i] }

// InFlight returns the number of requests in flight to candidate i.
func (c *Candidates) InFlight(i int) int { return c.candidates.inFlight(i) }

// Load returns the number of requests in flight to candidate i, increased if its requests fail:
// a backend that fails at once is not idle.
func (c *Candidates) Load(i int) float64 { return c.candidates.load(i) }

// Options are the options of a Caddyfile block. Each function parses the arguments of its
// option, with the dispenser at the option's name. Parse parses the block.
type Options = caddyfileutil.Options

// Options returns the options that all policies have, and that set the fields of a. A policy
// adds its own.
func (a *Adapter) Options() Options { return a.options(nil) }

// SetUp prepares the adapter for a policy. The Provision of a policy calls it with the name of
// the policy in metrics and explanations. It returns an error if a weight is out of bounds.
func (a *Adapter) SetUp(ctx caddy.Context, name string, p Policy) error {
	return a.provision(ctx, name, policyAlgorithm{p})
}

// Provision implements [caddy.Provisioner]. It returns an error, for a policy that lacks the
// Provision that it needs.
func (*Adapter) Provision(caddy.Context) error {
	return errNotSetUp
}

var errNotSetUp = errors.New("the policy is not set up: its Provision method must call SetUp of the embedded selection.Adapter")

// policyAlgorithm adapts a policy of another repository.
type policyAlgorithm struct{ Policy }

// prepare implements [algorithm]. If the policy panics, weighted random picks replace it, since
// without a picker no request is served.
func (p policyAlgorithm) prepare(g group) (prepared picker) {
	defer func() {
		if r := recover(); r != nil {
			panics.Log("preparing a selection policy, which picks at random until the backends change", r)
			prepared = &weightedRandomPicker{newAlias(g.weights)}
		}
	}()
	external := p.Prepare(Group{g})
	if external == nil {
		panic("Prepare returned nil")
	}
	return policyPicker{external}
}

// policyPicker adapts a picker of another repository.
type policyPicker struct{ picker Picker }

// pick implements [picker]. A result that is not usable counts as none.
func (p policyPicker) pick(c candidates, r *http.Request) int {
	i := p.picker.Pick(Candidates{c}, r)
	if i < 0 || i >= c.len() || !c.usable(i) {
		return -1
	}
	return i
}

// peek implements [picker].
func (p policyPicker) peek() picker {
	if peeker, ok := p.picker.(Peeker); ok {
		return policyPicker{peeker.Peek()}
	}
	return p
}

// score implements [picker].
func (p policyPicker) score(c *candidates, i int, r *http.Request) map[string]float64 {
	if scorer, ok := p.picker.(Scorer); ok {
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
