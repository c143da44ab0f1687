// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
)

// drained is what a backend without new requests still has on one instance. The zero value says that
// the backend takes requests there.
type drained struct {
	// Change is the version of the latest change of the operator's state that the instance has
	// applied. What it has said of an earlier drain counts for nothing.
	Change   uint64 `json:"change,omitempty"`
	InFlight int    `json:"in_flight,omitempty"`
	// Sessions is nil if their number is not known.
	Sessions *int `json:"sessions,omitempty"`
	Safe     bool `json:"safe,omitempty"`
}

// drainKey returns the key of the record of an instance about a backend.
func drainKey(address, instance string) string { return address + "|" + instance }

// checkDrain returns why a record of another instance is invalid, or nil.
func checkDrain(key string, value []byte) error {
	var d drained
	switch err := httpx.DecodeJSON(value, &d); {
	case err != nil:
		return err
	case !strings.Contains(key, "|"):
		return errors.New("the key has no instance")
	case d.InFlight < 0 || d.Sessions != nil && *d.Sessions < 0:
		return errors.New("numbers must not be negative")
	}
	return nil
}

// checkHint returns why a record of another instance is invalid, or nil.
func checkHint(_ string, value []byte) error {
	var h hint
	switch err := httpx.DecodeJSON(value, &h); {
	case err != nil:
		return err
	case h.Down < 0 || h.Ejected < 0 || h.Down > h.Members || h.Ejected > h.Members-h.Down:
		return fmt.Errorf("down and ejected must be at most members, got %d, %d and %d", h.Down, h.Ejected, h.Members)
	}
	return nil
}

// takesNone reports whether a backend gets no new requests because of an operator or an agent.
func takesNone(b *backend.Backend) bool {
	state := b.Condition().State
	return state == backend.StateDrain || state == backend.StateMaint
}

// publishDrains publishes what draining backends still have, and reports whether there are any. It
// also speaks for backends that other instances drain and this one does not have.
func (w *watch) publishDrains(p *Pool, now time.Time) (any bool) {
	c := p.overlay.inFleet()
	self := w.fleet.ID()
	for _, b := range p.View().Members.All {
		key := drainKey(b.Address, self)
		said, known := w.published[w.drains.topic+"\x00"+key]
		switch {
		case takesNone(b):
			any = true
			w.publishDrain(p, b, c.appliedDrain(b), now)
		case known && said.value != noDrain:
			w.publish(&w.drains, key, drained{}, now, 0)
		}
	}
	for _, address := range c.drainedElsewhere(p) {
		any = true
		_, r, _ := c.change(aspectAdmin, address)
		d := drained{Change: r.version, InFlight: p.overlay.inFlight(address)}
		d.Safe = d.InFlight == 0
		w.publish(&w.drains, drainKey(address, self), d, now, 0)
	}
	return any
}

// publishDrain publishes what a draining backend still has. It is safe once it was so in two steps
// in a row: a request that was about to start when the drain began counts by then.
func (w *watch) publishDrain(p *Pool, b *backend.Backend, change uint64, now time.Time) {
	d := drained{Change: change, InFlight: b.InFlight()}
	if n := p.Sessions(b); n.HasSessions && (n.Known > 0 || n.Complete) {
		d.Sessions = &n.Known
	}
	settled := w.settled[b.State]
	w.settled[b.State] = settledDrain{change, p.Drained(b), now}
	d.Safe = p.Drained(b) && settled.drained && settled.change == change
	w.publish(&w.drains, drainKey(b.Address, w.fleet.ID()), d, now, 0)
}

// noDrain is the value of the zero drained. It is not renewed.
const noDrain = "{}"

// appliedDrain returns the version of the operator's state of a member, or 0 if it has still to be
// applied.
func (c *replica) appliedDrain(b *backend.Backend) uint64 {
	said, r, _ := c.changeOf(aspectAdmin, b)
	if said.State != "" && !b.Out() {
		return 0
	}
	return r.version
}

// settledDrain is what a step has seen of a draining backend.
type settledDrain struct {
	change  uint64
	drained bool
	at      time.Time
}

// drainedElsewhere returns the addresses that are drained in the fleet and are no members here.
func (c *replica) drainedElsewhere(p *Pool) (all []string) {
	if c == nil {
		return nil
	}
	for _, key := range c.table.keys() {
		a, address := splitKey(key)
		if a != aspectAdmin || p.Find(address) != nil {
			continue
		}
		if said, _, ok := c.change(a, address); ok && said.State != "" {
			all = append(all, address)
		}
	}
	return all
}

// inFlight returns the requests in flight to a departed backend.
func (r *overlay) inFlight(address string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, d := range r.retired {
		if key.Address == address {
			n += d.state.InFlight()
		}
	}
	return n
}

// FleetDrain implements [membership.Manager].
func (p *Pool) FleetDrain(b *backend.Backend) *membership.FleetDrain {
	w, c := p.overlay.observer.current(), p.overlay.inFleet()
	if w == nil || c == nil {
		return nil
	}
	instances := w.fleet.Instances()
	out := &membership.FleetDrain{Instances: instances.Len(), Waiting: []string{}}
	_, change, _ := c.changeOf(aspectAdmin, b)
	for _, i := range instances.All {
		if i.ID == w.fleet.ID() {
			if !p.Drained(b) {
				out.Waiting = append(out.Waiting, i.ID)
			}
			continue
		}
		if d, ok := w.drainOf(b.Address, i.ID); !ok || !d.Safe || d.Change < change.version {
			out.Waiting = append(out.Waiting, i.ID)
		}
	}
	out.Safe = len(out.Waiting) == 0 && !instances.Alone
	return out
}

func (w *watch) drainOf(address, instance string) (d drained, ok bool) {
	r, ok := w.drains.get(drainKey(address, instance))
	return d, ok && json.Unmarshal(r.value, &d) == nil
}
