// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package crossing

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"

	watched "github.com/ballast-lb/caddy-ballast/discovery"
	"github.com/ballast-lb/caddy-ballast/internal/health"
)

// pushed is what a world's source pushes. The world's lock guards it.
type pushed struct {
	endpoints map[string]watched.Endpoint
	instances map[string]int // how many instances there were at an address
	version   int
	updated   chan struct{}    // closed with the next change
	told      map[bool]telling // what the first instance was told last, and the other
}

// telling is what a source has told an instance, and when.
type telling struct {
	version   int
	at        time.Time
	endpoints []watched.Endpoint
}

func newPushed() pushed {
	return pushed{
		endpoints: make(map[string]watched.Endpoint), instances: make(map[string]int),
		updated: make(chan struct{}), told: make(map[bool]telling),
	}
}

// wake has the sources look again. The caller must hold the lock.
func (p *pushed) wake() {
	p.version++
	close(p.updated)
	p.updated = make(chan struct{})
}

// push changes what the source pushes.
func (w *world) push(k kind, a string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e, known := w.endpoints[a]
	switch {
	case k == "push lose":
		delete(w.endpoints, a)
	case k == "push replace" || k == "push" && !known:
		w.instances[a]++
		e = watched.Endpoint{Address: a}
		e.Instance = fmt.Sprint("i", w.instances[a])
		w.endpoints[a] = e
	case known:
		e.Draining = k == "push drain"
		w.endpoints[a] = e
	}
	w.wake()
}

// endDrains ends all drains by the source.
func (w *world) endDrains() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for a, e := range w.endpoints {
		e.Draining = false
		w.endpoints[a] = e
	}
	w.wake()
}

// pushSource pushes what a world says.
type pushSource struct {
	World string            `json:"world,omitempty"`
	Other bool              `json:"other,omitempty"`
	Tiers map[string]int    `json:"tiers,omitempty"`
	Zones map[string]string `json:"zones,omitempty"`
}

func (*pushSource) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ballast.discovery.crossing_push", New: func() caddy.Module { return new(pushSource) }}
}

// Watch implements [watched.Source]. While the source fails, it tells what it has told last, and ends.
func (s *pushSource) Watch(ctx context.Context, update func(watched.Update)) error {
	w := worldOf(s.World)
	for {
		w.mu.Lock()
		failing, updated := w.failing, w.updated
		if !failing {
			w.told[s.Other] = telling{w.version, time.Now(), s.all(w)}
		}
		told := w.told[s.Other]
		w.mu.Unlock()
		if failing && told.at.IsZero() {
			return errNoAnswer
		}
		update(watched.Update{Endpoints: slices.Clone(told.endpoints)})
		if failing {
			return errNoAnswer
		}
		select {
		case <-updated:
		case <-ctx.Done():
			return nil
		}
	}
}

// all returns the endpoints. The caller must hold the world's lock.
func (s *pushSource) all(w *world) (all []watched.Endpoint) {
	for a, e := range w.endpoints {
		e.Tier, e.Zone = s.Tiers[a], s.Zones[a]
		all = append(all, e)
	}
	return all
}

// followed is how long a pool may take to follow its source: changes are 100 ms apart at least.
const followed = 250 * time.Millisecond

// lookAtSource checks D: the members are what the source has told.
func (p *play) lookAtSource() {
	w := p.world
	w.mu.Lock()
	told := w.told[false]
	settled := told.version == w.version && !w.failing && time.Since(told.at) >= followed && time.Since(p.loaded) >= followed
	endpoints := maps.Clone(w.endpoints)
	w.mu.Unlock()
	if !settled || p.has(discovery) { // whose answers come first
		return
	}
	pool := p.pool()
	for i := p.configured(); i < maxBackends-1; i++ {
		a := address(i)
		e, want := endpoints[a]
		switch b := pool.Find(a); {
		case want != (b != nil):
			p.violate("D", "the source says of %s: %v; it is a member: %v", a, want, b != nil)
		case want && b.Instance != e.Instance:
			p.violate("D", "%s is instance %q, and the source says %q", a, b.Instance, e.Instance)
		case want:
			state, by := b.Admin()
			if e.Draining && state == health.Ready || !e.Draining && by == "discovery" {
				p.violate("D", "%s is %v, and the source says that it drains: %v", a, state, e.Draining)
			}
		}
	}
}
