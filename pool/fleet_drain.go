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

// drained is the progress of the drain of a backend on one instance of a fleet. The zero value means that the backend
// takes requests there.
type drained struct {
	// Change is the version of the latest change of the operator's state that the instance has applied.
	// Progress of an earlier drain does not count.
	Change   uint64 `json:"change,omitempty"`
	InFlight int    `json:"in_flight,omitempty"`
	// Sessions is nil if their number is not known.
	Sessions *int `json:"sessions,omitempty"`
	// Safe reports that the instance has nothing left on the backend.
	Safe bool `json:"safe,omitempty"`
}

// drainKey returns the key of the record of an instance about a backend.
func drainKey(address, instance string) string { return address + "|" + instance }

// checkDrain returns an error if a record of another instance is invalid.
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

// checkHint returns an error if a record of another instance is invalid.
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

// refusesNew reports whether an operator or an agent has stopped new requests to a backend.
func refusesNew(b *backend.Backend) bool {
	state := b.Condition().State
	return state == backend.StateDrain || state == backend.StateMaint
}

// publishDrains publishes the progress of draining backends, and reports whether there are any. That includes backends
// that are drained in the fleet and are not members on this instance.
func (w *watch) publishDrains(p *Pool, now time.Time) (any bool) {
	c := p.overlay.inFleet()
	self := w.fleet.ID()
	for _, b := range p.View().Members.All {
		key := drainKey(b.Address, self)
		last, known := w.published[w.drains.topic+"\x00"+key]
		switch {
		case refusesNew(b):
			any = true
			w.publishDrain(p, b, c.appliedDrain(b), now)
		case known && last.value != noDrain:
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

// publishDrain publishes the progress of a draining backend. The backend is safe once two consecutive steps have found
// it drained: by then, a request that was about to start when the drain began is counted.
func (w *watch) publishDrain(p *Pool, b *backend.Backend, change uint64, now time.Time) {
	d := drained{Change: change, InFlight: b.InFlight()}
	if n := p.Sessions(b); n.HasSessions && (n.Known > 0 || n.Complete) {
		d.Sessions = &n.Known
	}
	previous := w.drainsSeen[b.State]
	w.drainsSeen[b.State] = drainObservation{change, p.Drained(b), now}
	d.Safe = p.Drained(b) && previous.drained && previous.change == change
	w.publish(&w.drains, drainKey(b.Address, w.fleet.ID()), d, now, 0)
}

// noDrain is the value of the zero drained. It is not renewed.
const noDrain = "{}"

// appliedDrain returns the version of the operator's state of a member, or 0 if this instance has not applied it yet.
func (c *replica) appliedDrain(b *backend.Backend) uint64 {
	recorded, r, _ := c.changeOf(aspectAdmin, b)
	if recorded.State != "" && !b.Out() {
		return 0
	}
	return r.version
}

// drainObservation is the state of a draining backend in a step of the observer.
type drainObservation struct {
	change  uint64
	drained bool
	at      time.Time
}

// drainedElsewhere returns the addresses of backends that are drained in the fleet and are not members of p.
func (c *replica) drainedElsewhere(p *Pool) (all []string) {
	if c == nil {
		return nil
	}
	for _, key := range c.table.keys() {
		a, address := splitKey(key)
		if a != aspectAdmin || p.Find(address) != nil {
			continue
		}
		if recorded, _, ok := c.change(a, address); ok && recorded.State != "" {
			all = append(all, address)
		}
	}
	return all
}

// inFlight returns the number of requests in flight to departed backends at an address.
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
