// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/fleet"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/periodic"
)

// observer reports the state of a pool on this instance to the other instances of a fleet: how many members are down,
// what draining backends still have to do, and figures for the dashboard. None of that affects requests. It belongs
// to an overlay, and continues over reloads. Safe for concurrent use.
type observer struct {
	periodic.Task[*Pool]

	mu       sync.Mutex // guards the fields below; never held during calls to other packages
	watch    *watch     // nil without a fleet
	dirty    bool       // a view was published since the latest step
	stepped  time.Time  // when the latest step was
	draining bool       // a backend was draining in the latest step
	isolated bool       // this instance was isolated in the latest step
	renewal  time.Duration
}

// watch is the observation of a pool in one fleet. Only the steps of the observer use beat, and the fields from
// published on.
type watch struct {
	fleet   *fleet.Fleet
	beat    time.Duration // the interval of heartbeats as of the latest step
	drains  recordTable
	hints   recordTable
	digests recordTable // figures that the dashboard adds up over all instances

	published  map[string]publication // records of this instance, by topic and key
	drainsSeen map[*backend.State]drainObservation
	suspected  time.Time // since when this instance seems isolated; zero if it does not
	isolated   bool
}

// publication is the latest published record of a key.
type publication struct {
	value   string
	version uint64
	at      time.Time
}

const (
	// drainEvery is the interval at which draining backends are checked.
	drainEvery = 250 * time.Millisecond
	// hintEvery is the least interval between two hints of a pool.
	hintEvery = time.Second
	// observedFor is the TTL of a record of an observer, and renewedEvery the interval at which it is
	// renewed, in heartbeats.
	observedFor, renewedEvery = 10, 3
	defaultBeat               = time.Second
	// maxDrains and maxHints bound the records of other instances.
	maxDrains, maxHints = 100_000, 10_000
)

// use makes the observer report to the fleet of a pool, and to none if p is nil. p becomes the current user of the
// observer.
func (o *observer) use(p *Pool) {
	f := p.ofFleet()
	o.mu.Lock()
	old := o.watch
	o.mu.Unlock()
	if old.of() != f {
		var next *watch
		if f != nil {
			next = o.newWatch(p)
		}
		o.mu.Lock()
		o.watch = next
		o.mu.Unlock()
		old.leave()
	}
	if f != nil && !slices.Contains(o.Users(), p) {
		o.Start(p)
	}
}

// newWatch returns the watch of a pool in its fleet.
func (o *observer) newWatch(p *Pool) *watch {
	w := &watch{fleet: p.ofFleet(), beat: defaultBeat, published: make(map[string]publication), drainsSeen: make(map[*backend.State]drainObservation)}
	w.drains = recordTable{check: checkDrain, renewed: true, most: maxDrains}
	w.hints = recordTable{check: checkHint, arrived: o.note, renewed: true, most: maxHints}
	w.digests = recordTable{check: checkDigest, renewed: true, most: maxHints}
	w.drains.join(p, "drains", nil)
	w.hints.join(p, "hints", nil)
	w.digests.join(p, "digests", nil)
	return w
}

// leave removes the watch from its fleet.
func (w *watch) leave() {
	if w != nil {
		w.drains.publisher.Leave()
		w.hints.publisher.Leave()
		w.digests.publisher.Leave()
	}
}

// of returns the fleet of the watch; nil for a nil watch.
func (w *watch) of() *fleet.Fleet {
	if w == nil {
		return nil
	}
	return w.fleet
}

// current returns the current watch, or nil without a fleet.
func (o *observer) current() *watch {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.watch
}

// note makes a step due soon, since the pool or a hint of another instance has changed.
func (o *observer) note() {
	o.mu.Lock()
	o.dirty = true
	o.mu.Unlock()
	o.Wake()
}

// step publishes changed records, renews the others when that is due, and judges whether this instance is isolated.
func (o *observer) step(_ context.Context, p *Pool) (afterwards func()) {
	now := time.Now()
	o.mu.Lock()
	w := o.watch
	if w == nil || !o.stepped.IsZero() && now.Sub(o.stepped) < drainEvery {
		o.mu.Unlock()
		return nil
	}
	o.stepped, o.dirty = now, false
	o.mu.Unlock()
	if beat := w.fleet.Status().Heartbeat; beat > 0 {
		w.beat = beat
	}
	draining := w.publishDrains(p, now)
	w.publishHint(p, now)
	w.publishDigest(p, now)
	w.judge(p, now)
	p.overlay.inFleet().renewRollouts(p)
	o.mu.Lock()
	o.draining, o.isolated, o.renewal = draining, w.isolated, w.renewal()
	o.mu.Unlock()
	w.prune(now)
	return nil
}

// prune drops outdated entries, such as those of departed backends.
func (w *watch) prune(now time.Time) {
	maps.DeleteFunc(w.published, func(_ string, last publication) bool { return now.Sub(last.at) > 2*w.renewal() })
	maps.DeleteFunc(w.drainsSeen, func(_ *backend.State, s drainObservation) bool { return s.at != now })
	w.drains.sweep()
	w.hints.sweep()
	w.digests.sweep()
}

// next returns the time until the next step.
func (o *observer) next(*Pool) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.watch == nil:
		return maxIdle
	case o.dirty || o.draining:
		return drainEvery
	}
	return min(o.renewal, hintEvery)
}

// renewal returns the interval at which records are renewed.
func (w *watch) renewal() time.Duration { return renewedEvery * w.beat }

// publish publishes a record if its value has changed, or if its renewal is due. A renewal keeps the version of the
// record, so that other instances do not see a change. least is the least interval between two different values.
func (w *watch) publish(t *recordTable, key string, value any, now time.Time, least time.Duration) {
	data, _ := json.Marshal(value) // it has nothing that cannot be encoded
	name := t.topic + "\x00" + key
	last, known := w.published[name]
	switch {
	case known && last.value == string(data):
		if now.Sub(last.at) < w.renewal() {
			return
		}
	case known && now.Sub(last.at) < least:
		return
	default:
		last.version = w.fleet.Now()
	}
	w.published[name] = publication{string(data), last.version, now}
	t.put(key, last.version, data, observedFor*w.beat)
}

// hint is the number of members of a pool, and how many of them are down and ejected on an instance.
type hint struct {
	Members int `json:"members"`
	Down    int `json:"down"`
	Ejected int `json:"ejected"`
}

// publishHint publishes the hint of this instance.
func (w *watch) publishHint(p *Pool, now time.Time) {
	w.publish(&w.hints, w.fleet.ID(), hintOf(p), now, hintEvery)
}

func hintOf(p *Pool) (h hint) {
	for _, b := range p.View().Members.All {
		h.Members++
		switch b.Condition().State {
		case backend.StateDown:
			h.Down++
		case backend.StateEjected:
			h.Ejected++
		}
	}
	return h
}

// mostlyDown reports whether at least half of the members are down or ejected.
func (h hint) mostlyDown() bool { return h.Members > 0 && 2*(h.Down+h.Ejected) >= h.Members }

// isolatedAfter is how long an instance must seem isolated before it counts as isolated: other instances may notice
// a failure of backends later.
const isolatedAfter = 5 * time.Second

// judge determines whether this instance is isolated: at least half of the members are down or ejected here, but not
// on most other instances. It announces changes.
func (w *watch) judge(p *Pool, now time.Time) {
	own, others, healthy := hintOf(p), 0, 0
	if own.mostlyDown() {
		for _, h := range w.hintsOfOthers() {
			if others++; !h.mostlyDown() {
				healthy++
			}
		}
	}
	suspected := 2*healthy > others && others > 0
	switch {
	case !suspected:
		w.suspected = time.Time{}
	case w.suspected.IsZero():
		w.suspected = now
	}
	isolated := suspected && now.Sub(w.suspected) >= isolatedAfter
	if isolated == w.isolated {
		return
	}
	w.isolated = isolated
	if isolated {
		p.emit(nil, true, "most backends are down here, but not on most other instances; this instance may be cut off from them", "fleet_isolated",
			fmt.Sprintf("%d of %d backends are down or ejected here; %d of %d other instances see less than half of theirs so", own.Down+own.Ejected, own.Members, healthy, others))
	} else {
		p.emit(nil, false, "this instance sees the backends as the other instances do again", "fleet_rejoined",
			fmt.Sprintf("%d of %d backends are down or ejected here", own.Down+own.Ejected, own.Members))
	}
}

// hintsOfOthers returns the hints of the other living instances that have members, by instance.
func (w *watch) hintsOfOthers() map[string]hint {
	all := make(map[string]hint)
	for _, i := range w.fleet.Instances().All {
		if h, ok := w.hintOf(i.ID); ok && i.ID != w.fleet.ID() && h.Members > 0 {
			all[i.ID] = h
		}
	}
	return all
}

func (w *watch) hintOf(instance string) (h hint, ok bool) {
	r, ok := w.hints.get(instance)
	return h, ok && json.Unmarshal(r.value, &h) == nil
}

// Isolated implements [membership.Manager].
func (p *Pool) Isolated() bool {
	o := &p.overlay.observer
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.watch != nil && o.isolated
}

// Hints implements [membership.Manager].
func (p *Pool) Hints() (all []membership.Hint) {
	w := p.overlay.observer.current()
	if w == nil {
		return nil
	}
	for _, i := range w.fleet.Instances().All {
		if h, ok := w.hintOf(i.ID); ok {
			all = append(all, membership.Hint{Instance: i.ID, Members: h.Members, Down: h.Down, Ejected: h.Ejected, Digest: w.digestOf(i.ID)})
		}
	}
	return all
}
