// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// pools prints a row for each pool.
func (t *textTable) pools(all []Pool) {
	t.row("POOL", "POLICY", "BACKENDS", "STATES", "IN FLIGHT", "WAITING", "REQ/S", "ERRORS", "REFUSED", "NOTE")
	t.leaveOut("BACKENDS", "WAITING", "POLICY", "IN FLIGHT")
	for _, p := range all {
		inFlight, rate, failed, refused := 0, 0.0, int64(0), int64(0)
		for _, b := range p.Backends {
			inFlight += b.InFlight
			rate += b.Rate
			failed += failures(&b)
		}
		for _, n := range p.Refused {
			refused += n
		}
		waiting := any("-")
		if p.Queue != nil {
			waiting = p.Queue.Waiting
		}
		t.row(p.Name, dash(strings.Join(p.Policies, ", ")), len(p.Backends), dash(states(p.Backends)), inFlight, waiting, fmt.Sprintf("%.1f", rate), failed, refused, note(p))
	}
}

// note returns a remark about a problem of a pool; "" for none.
func note(p Pool) string {
	held := 0
	for _, b := range p.Backends {
		for _, c := range b.Checks {
			if c.Held {
				held++
				break
			}
		}
	}
	switch {
	case p.Reason != "":
		return p.Reason
	case p.Panic:
		return "panic: health is ignored"
	case held > 0:
		return "guard: the failed checks of " + count(held, "backend") + " are not believed"
	}
	return ""
}

// states describes the states of backends, such as "3 up, 1 down, 1 draining".
func states(all []Backend) string {
	n := make(map[string]int)
	for _, b := range all {
		n[stateOf(&b)]++
	}
	var words []string
	for _, state := range []string{backend.StateUp, backend.StateTrial, backend.StateDown, backend.StateEjected, backend.StateDrain, backend.StateMaint, stateUnused} {
		if n[state] > 0 {
			words = append(words, fmt.Sprintf("%d %s", n[state], stateWords(state)))
		}
	}
	return strings.Join(words, ", ")
}

// stateUnused is the state of backends that are not in the subset of this instance.
const stateUnused = "unused"

func stateOf(b *Backend) string {
	if b.Unused && b.State == backend.StateUp {
		return stateUnused
	}
	return b.State
}

// stateWords returns a state as the end of a sentence "... is".
func stateWords(state string) string {
	switch state {
	case backend.StateDrain:
		return "draining"
	case backend.StateMaint:
		return "in maintenance"
	case backend.StateTrial:
		return "half-open"
	}
	return state
}

// backends prints a row for each backend of a pool.
func (t *textTable) backends(p Pool) {
	t.row("BACKEND", "ADDRESS", "STATE", "WEIGHT", "TIER", "IN FLIGHT", "REQ/S", "REQUESTS", "ERRORS", "P50", "P99", "SESSIONS", "REASON")
	t.leaveOut("P50", "TIER", "REQUESTS", "SESSIONS", "ADDRESS", "IN FLIGHT", "P99", "WEIGHT")
	tiers := slices.ContainsFunc(p.Backends, func(b Backend) bool { return b.Tier != 0 || b.Backup })
	for _, b := range p.Backends {
		weight, inFlight, sessions := fmt.Sprintf("%g", round(b.Weight)), fmt.Sprint(b.InFlight), any("-")
		if b.EffectiveWeight != b.Weight {
			weight += fmt.Sprintf(" (%g)", round(b.EffectiveWeight))
		}
		if b.MaxRequests > 0 || b.FleetLimit != nil {
			inFlight += fmt.Sprintf("/%d", b.MaxRequests)
		}
		if b.FleetLimit != nil {
			inFlight += fmt.Sprintf(" of %d", b.FleetLimit.MaxRequests)
		}
		if b.Sessions != nil {
			sessions = *b.Sessions
		}
		tierOf := "-"
		if tiers {
			tierOf = tier(b.Tier, b.Backup)
		}
		t.row(b.ID, otherThan(b.ID, b.Address), stateWords(stateOf(&b)), weight, tierOf, inFlight, fmt.Sprintf("%.1f", b.Rate), b.Requests, failures(&b),
			quantile(b, "p50"), quantile(b, "p99"), sessions, cmp.Or(b.Reason, b.Why))
	}
}

// otherThan returns an address, or a dash if it is the id.
func otherThan(id, address string) string {
	if address == id {
		return "-"
	}
	return address
}

// tier returns the tier of a backend.
func tier(n int, backup bool) string {
	if backup {
		return "backup"
	}
	return fmt.Sprint(n)
}

func round(f float64) float64 {
	_, _ = fmt.Sscanf(fmt.Sprintf("%.4g", f), "%g", &f)
	return f
}

// quantile returns a latency quantile with two digits, the precision of the buckets.
func quantile(b Backend, name string) string {
	s, ok := b.Latency[name]
	if !ok {
		return "-"
	}
	if s > 0 {
		unit := math.Pow(10, math.Floor(math.Log10(s))-1)
		s = math.Round(s/unit) * unit
	}
	return seconds(s)
}

// failures returns the number of failed attempts, for all reasons.
func failures(b *Backend) (n int64) {
	for _, one := range b.Errors {
		n += one
	}
	return n
}
