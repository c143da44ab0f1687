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

// observer tells the other instances of a fleet what this one sees of a pool: how many members are
// down, and what draining backends still have. Nothing of that affects requests. It belongs to an
// overlay, and goes on over reloads. Safe for concurrent use.
type observer struct {
	periodic.Task[*Pool]

	mu       sync.Mutex // guards the fields below; never held during calls to other packages
	watch    *watch     // nil without a fleet
	dirty    bool       // a view was published since the latest step
	stepped  time.Time  // when the latest step was
	draining bool       // a backend was draining then
	isolated bool       // this instance was isolated then
	renewal  time.Duration
}

// watch is the use of one fleet by an observer. Only steps use beat, and the fields from published on.
type watch struct {
	fleet  *fleet.Fleet
	beat   time.Duration // the interval of heartbeats as of the latest step
	drains recordTable
	hints  recordTable
	// digests are what the page adds up over all instances.
	digests recordTable

	published map[string]publication // of this instance, by topic and key
	settled   map[*backend.State]settledDrain
	suspected time.Time // since when this instance seems isolated; zero for not
	isolated  bool
}

// publication is what an instance has published last.
type publication struct {
	value   string
	version uint64
	at      time.Time
}

const (
	// drainEvery is how often draining backends are looked at.
	drainEvery = 250 * time.Millisecond
	// hintEvery is the least interval of two hints of a pool.
	hintEvery = time.Second
	// observedFor is how long a record of an observer is valid, and renewedEvery how often it is
	// renewed, in heartbeats.
	observedFor, renewedEvery = 10, 3
	defaultBeat               = time.Second
	// maxDrains and maxHints bound the records of other instances.
	maxDrains, maxHints = 100_000, 10_000
)

// use makes the observer use the fleet of a pool, or none if p is nil. p becomes its current user.
func (o *observer) use(p *Pool) {
	f := p.ofFleet()
	o.mu.Lock()
	old := o.watch
	o.mu.Unlock()
	if old.of() != f {
		var next *watch
		if f != nil {
			next = &watch{fleet: f, beat: defaultBeat, published: make(map[string]publication), settled: make(map[*backend.State]settledDrain)}
			next.drains = recordTable{check: checkDrain, arrived: func() {}, logger: p.app.logger, most: maxDrains}
			next.hints = recordTable{check: checkHint, arrived: o.note, logger: p.app.logger, most: maxHints}
			next.drains.join(f, p.topicOf("drains"), func() {})
			next.hints.join(f, p.topicOf("hints"), func() {})
			next.digests = recordTable{check: checkDigest, arrived: func() {}, logger: p.app.logger, most: maxHints}
			next.digests.join(f, p.topicOf("digests"), func() {})
		}
		o.mu.Lock()
		o.watch = next
		o.mu.Unlock()
		if old != nil {
			old.drains.publisher.Leave()
			old.hints.publisher.Leave()
			old.digests.publisher.Leave()
		}
	}
	if f != nil && !slices.Contains(o.Users(), p) {
		o.Start(p)
	}
}

func (w *watch) of() *fleet.Fleet {
	if w == nil {
		return nil
	}
	return w.fleet
}

// current returns the use of a fleet, or nil.
func (o *observer) current() *watch {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.watch
}

// note makes a step due soon, because something may have changed.
func (o *observer) note() {
	o.mu.Lock()
	o.dirty = true
	o.mu.Unlock()
	o.Wake()
}

// step publishes what has changed, and renews the rest.
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
	o.mu.Lock()
	o.draining, o.isolated, o.renewal = draining, w.isolated, w.renewal()
	o.mu.Unlock()
	w.prune(now)
	return nil
}

// prune drops what no longer counts, such as that of departed backends.
func (w *watch) prune(now time.Time) {
	maps.DeleteFunc(w.published, func(_ string, said publication) bool { return now.Sub(said.at) > 2*w.renewal() })
	maps.DeleteFunc(w.settled, func(_ *backend.State, s settledDrain) bool { return s.at != now })
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

// renewal returns how often records are renewed.
func (w *watch) renewal() time.Duration { return renewedEvery * w.beat }

// publish publishes a record if its value is new, or if it is to be renewed. A renewal has the version
// of the record, so that it is none for the other instances. least is the least interval of values.
func (w *watch) publish(t *recordTable, key string, value any, now time.Time, least time.Duration) {
	data, _ := json.Marshal(value) // it has nothing that cannot be encoded
	name := t.topic + "\x00" + key
	said, known := w.published[name]
	switch {
	case known && said.value == string(data):
		if now.Sub(said.at) < w.renewal() {
			return
		}
	case known && now.Sub(said.at) < least:
		return
	default:
		said.version = w.fleet.Now()
	}
	w.published[name] = publication{string(data), said.version, now}
	t.put(key, said.version, data, observedFor*w.beat)
}

// hint is how many members of a pool an instance sees down and ejected.
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

// isolatedAfter is how long an instance must seem isolated: the others see a failure of backends a
// little later.
const isolatedAfter = 5 * time.Second

// judge finds out whether this instance is isolated: it sees at least half of the members down, and
// most other instances do not.
func (w *watch) judge(p *Pool, now time.Time) {
	own, others, well := hintOf(p), 0, 0
	if own.mostlyDown() {
		for _, h := range w.hintsOfOthers() {
			if others++; !h.mostlyDown() {
				well++
			}
		}
	}
	seems := 2*well > others && others > 0
	switch {
	case !seems:
		w.suspected = time.Time{}
	case w.suspected.IsZero():
		w.suspected = now
	}
	isolated := seems && now.Sub(w.suspected) >= isolatedAfter
	if isolated == w.isolated {
		return
	}
	w.isolated = isolated
	if isolated {
		p.emit(nil, true, "most backends are down here, but not on most other instances; this instance may be cut off from them", "fleet_isolated",
			fmt.Sprintf("%d of %d backends are down or ejected here; %d of %d other instances see less than half of theirs so", own.Down+own.Ejected, own.Members, well, others))
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
