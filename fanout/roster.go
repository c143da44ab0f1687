// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/lease"
)

// roster is the fan-outs of one configuration, which is told by its registry.
type roster struct {
	registry *prometheus.Registry
	leases   lease.Refs

	// What follows is guarded by rosters.mu.

	users  int
	twins  map[ledgerKey]int
	names  map[string]string // the targets of those with a name
	labels map[string]bool
	all    []entry
}

// entry is a ledger as metrics call it, and the pool whose members they show.
type entry struct {
	label string
	pool  *backend.Pool
	*ledger
}

// ledgerKey names a ledger.
type ledgerKey struct {
	label, targets string
	twin           int // tells handlers without a name apart that have the same targets
}

// rosters are those of the configurations that are loaded, the latest last.
var rosters struct {
	mu  sync.Mutex
	all []*roster
}

// join gives a handler its ledger, what metrics call it, and the roster to leave.
func (h *Handler) join(registry *prometheus.Registry, pool *backend.Pool) error {
	rosters.mu.Lock()
	defer rosters.mu.Unlock()
	r, err := rosterOf(registry)
	if err != nil {
		return err
	}
	key := ledgerKey{label: h.Name, targets: h.Pool + "\n" + strings.Join(h.Upstreams, "\n")}
	known := false
	if h.Name != "" {
		var other string
		if other, known = r.names[h.Name]; known && other != key.targets {
			r.part()
			return fmt.Errorf("two fan-outs are named %q and go to different backends; write another name", h.Name)
		}
		r.names[h.Name] = key.targets
	} else {
		key.label = pool.Name
		if h.Pool == "" {
			key.label = "upstreams"
		}
		same := key
		key.twin = r.twins[same]
		r.twins[same]++
	}
	r.users++
	h.roster, h.label = r, key.label
	h.ledger = lease.LoadOrNew(&r.leases, key, newLedger)
	if !known {
		h.label = r.unique(key.label)
		r.all = append(r.all, entry{h.label, pool, h.ledger})
	}
	return nil
}

// rosterOf returns the roster of a configuration, a new one if there is none. The
// caller holds rosters.mu.
func rosterOf(registry *prometheus.Registry) (*roster, error) {
	for _, r := range rosters.all {
		if r.registry == registry {
			return r, nil
		}
	}
	if registry != nil {
		if err := registry.Register(collector{}); err != nil {
			return nil, err
		}
	}
	r := &roster{registry: registry, twins: make(map[ledgerKey]int), names: make(map[string]string), labels: make(map[string]bool)}
	rosters.all = append(rosters.all, r)
	return r, nil
}

// unique returns a label that no other has. The caller holds rosters.mu.
func (r *roster) unique(label string) string {
	name := label
	for n := 2; r.labels[name]; n++ {
		name = fmt.Sprint(label, "-", n)
	}
	r.labels[name] = true
	return name
}

// leave gives back a handler's share; with the last, what they have leased.
func (r *roster) leave() {
	rosters.mu.Lock()
	defer rosters.mu.Unlock()
	r.users--
	r.part()
}

// part forgets a roster without users. The caller holds rosters.mu.
func (r *roster) part() {
	if r.users == 0 {
		rosters.all = slices.DeleteFunc(rosters.all, func(of *roster) bool { return of == r })
		r.leases.Release()
	}
}

// listed returns the ledgers of all configurations that are loaded, each once, and
// each label once: as the latest configuration calls it.
func listed() (all []entry) {
	rosters.mu.Lock()
	defer rosters.mu.Unlock()
	ledgers, labels := make(map[*ledger]bool), make(map[string]bool)
	for _, r := range slices.Backward(rosters.all) {
		for _, e := range r.all {
			if !ledgers[e.ledger] && !labels[e.label] {
				ledgers[e.ledger], labels[e.label] = true, true
				all = append(all, e)
			}
		}
	}
	return all
}
