// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/internal/fleet/outgoing"
	"github.com/ballast-lb/caddy-ballast/internal/shared"
)

// Fleet is the membership of this instance in a fleet. It outlives configurations. Safe for
// concurrent use. The methods of a nil *Fleet behave like those of an instance without others.
type Fleet struct {
	id, name  string
	instances atomic.Pointer[Instances]
	clock     atomic.Uint64 // the latest version
	pending   outgoing.Pending
	resyncs   resyncs
	watchers  watchers
	pushed    atomic.Uint64
	received  atomic.Uint64
	invalid   atomic.Uint64
	synced    chan struct{} // closed by once
	once      sync.Once
	users     shared.Generations[*User]

	mu     sync.Mutex // guards the fields below
	topics map[string][]*Publisher
	run    *run            // nil without users
	ending <-chan struct{} // closed when the latest run has ended; nil for none
}

// User is a configuration that uses a fleet. Read-only after it was passed to [Fleet.Start].
type User struct {
	// Store is the store of the fleet. The store of the first user is used until the last user stops.
	Store Store
	// Zone is the zone of the instance; empty for none.
	Zone string
	// Version is the version of Caddy and Ballast.
	Version string
	// Heartbeat is the interval of beats. An instance lives for three of them. Default: 1s.
	Heartbeat time.Duration
	// Wait is the longest time from the first [Fleet.Start] until [Fleet.Synced] is closed.
	Wait time.Duration
	// Logger logs changes of the fleet and its store; nil for no logs.
	Logger *zap.Logger
	// Emit emits an event of the fleet. It must not block. May be nil.
	Emit func(event string, data map[string]any)
}

const (
	defaultHeartbeat = time.Second // interval of beats
	lives            = 3           // heartbeats without a beat after which an instance counts as dead
)

// heartbeat returns the effective interval of beats: at least the pace of the store.
func (u *User) heartbeat() time.Duration {
	d := u.Heartbeat
	if d <= 0 {
		d = defaultHeartbeat
	}
	if s, ok := u.Store.(Paced); ok {
		d = max(d, s.Pace())
	}
	return d
}

// Provider is implemented by the app that has the fleet of a configuration.
type Provider interface {
	// Fleet returns the fleet, or nil if none is configured.
	Fleet() *Fleet
}

// Of returns the fleet of a configuration, or nil if it has none, or if the app cannot be provisioned. Caddy
// reports the error of the app when it loads it.
func Of(ctx caddy.Context) *Fleet {
	app, _ := ctx.AppIfConfigured("ballast")
	if p, ok := app.(Provider); ok {
		return p.Fleet()
	}
	return nil
}

// fleetKey identifies a fleet of this process.
type fleetKey struct{ name, store string }

// Open returns the fleet of an instance name and a store; store is the configuration that identifies the
// store. Open creates the fleet if no loaded configuration uses it. It does nothing before [Fleet.Start].
func Open(refs *shared.Refs, name, store string) *Fleet {
	return shared.LoadOrNew(refs, fleetKey{name, store}, func() *Fleet { return New(name) })
}

// New returns the fleet of an instance with this name. A name of more than [MaxInstanceName] bytes is cut.
func New(name string) *Fleet {
	name = strings.ToValidUTF8(name[:min(len(name), MaxInstanceName)], "")
	f := &Fleet{id: fmt.Sprintf("%s-%08x", name, rand.Uint32()), name: name, synced: make(chan struct{})}
	f.pending.Clear() // the first resync finds all records
	f.instances.Store(f.first())
	return f
}

// first returns the known instances before the store was reached: only this one.
func (f *Fleet) first() *Instances {
	return &Instances{All: []Instance{{ID: f.id, Name: f.name}}, places: []place{joining}}
}

// MaxInstanceName is the longest name of an instance, in bytes. Ids add 9 bytes.
const MaxInstanceName = 91

// ID returns the id of this instance.
func (f *Fleet) ID() string {
	if f == nil {
		return ""
	}
	return f.id
}

// Instances returns the living instances. It never blocks.
func (f *Fleet) Instances() *Instances {
	if f == nil {
		return nil
	}
	return f.instances.Load()
}

// synchronous is a closed channel, for an instance without a fleet.
var synchronous = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// Synced returns a channel that is closed when the instance has read all records of the store, and the watchers
// know its first shares, or the Wait of the first user has passed.
func (f *Fleet) Synced() <-chan struct{} {
	if f == nil {
		return synchronous
	}
	return f.synced
}

func (f *Fleet) setSynced() { f.once.Do(func() { close(f.synced) }) }

// user returns the current user; without one, an empty user.
func (f *Fleet) user() *User {
	u, ok := f.users.Current()
	if !ok {
		return new(User)
	}
	return u
}

// log returns the logger of the current user.
func (f *Fleet) log() *zap.Logger {
	if u := f.user(); u.Logger != nil {
		return u.Logger
	}
	return zap.NewNop()
}

// current returns the current run, or nil without users.
func (f *Fleet) current() *run {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.run
}
