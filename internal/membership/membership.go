// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"context"
	"errors"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/rollout"
)

// Errors of a [Manager]. Other errors describe an invalid argument.
var (
	// ErrExists means that the pool already has a backend with this address or id.
	ErrExists = errors.New("the pool already has this backend")
	// ErrUnknown means that the pool has no such backend.
	ErrUnknown = errors.New("the pool has no such backend")
	// ErrNoGroup means that the pool has no such group.
	ErrNoGroup = errors.New("the pool has no such group")
	// ErrNotAlive means that a backend has failed a probe.
	ErrNotAlive = errors.New("not alive")
	// ErrNotKept means that the change is in effect but could not be stored, so that a restart undoes it. The
	// backend is returned with this error.
	ErrNotKept = errors.New("the change is in effect, but the storage failed to save it; it is lost when Caddy restarts")
)

// Addition is a backend to add to a pool at run time. Nil and empty fields have the defaults of
// the configuration.
type Addition struct {
	// Address is as in the configuration, but must be one backend.
	Address string
	backend.Settings
	// TTL is how long the backend stays unless it is added again, which is then no error; 0 for
	// ever.
	TTL time.Duration
	// Verified reports that the backend has just passed [Manager.Verify]. Otherwise it is down until it has
	// passed, if the pool has checks and serves.
	Verified bool
	// Registered reports that the backend registers itself. It may register again, which updates its settings.
	Registered bool
	// Who is the person or program that requested the addition, for events; see [MaxWho].
	Who string
}

// MaxWho is the longest text, in bytes, about who has made a change, such as alice@10.0.0.7 (curl). Longer texts
// are cut. The text comes from the client and is not authenticated.
const MaxWho = 200

// Removal describes how a backend is removed.
type Removal struct {
	// Registered restricts the removal to a backend that has registered itself.
	Registered bool
	// Who is as in [Addition].
	Who string
}

// Override replaces a value of the configuration.
type Override struct {
	// Value is nil to restore the value of the configuration.
	Value *int
}

// Change is a change of a backend. Nil fields stay as they are.
type Change struct {
	// Weight and MaxRequests are as in [backend.Endpoint].
	Weight, MaxRequests *Override
	// Admin is the administrative state.
	Admin *health.Admin
	// ForAddress applies the change also to every later instance at the address of the backend, until another
	// change of the same field. Otherwise the change ends with the instance.
	ForAddress bool
	// Who is as in [Addition].
	Who string
}

// Manager changes the membership of a pool and its backends at run time. A change takes effect
// for the next request and lasts while the pool keeps its name. A change is applied as a whole or
// not at all. Safe for concurrent use.
type Manager interface {
	// Add adds a backend. It returns [ErrExists] if the pool has it, unless it registers again.
	Add(a Addition) (*backend.Backend, error)
	// Change changes the backend with the given id, or else address.
	Change(id string, c Change) (*backend.Backend, error)
	// Remove removes a backend: it gets no new requests. Its requests in flight continue.
	Remove(id string, r Removal) (*backend.Backend, error)
	// Rollout applies an action to the rollout of a group. who is as in [Addition]. It returns [ErrNoGroup] if
	// the pool has no such group.
	Rollout(group string, a rollout.Action, who string) error
	// Verify probes a backend before it is added: with the pool's health checks or, without any, with a
	// connection. The error wraps [ErrNotAlive] if a probe fails, or says which setting is invalid.
	Verify(ctx context.Context, a Addition) error
	// Canonical returns the dial address of one backend in its canonical form, or an error.
	Canonical(address string) (string, error)
	// Origin returns the source of a backend.
	Origin(address string) Origin
	// ForAddress returns which of state, weight and max_requests an operator has changed for an
	// address, whatever instance is there.
	ForAddress(address string) []string
	// Checks returns the names of the health checks, in their order.
	Checks() []string
	// Sources returns the state of the sources of discovery, in their order.
	Sources() []SourceState
	// FleetDrain returns whether a backend that takes no new requests is drained on all instances of
	// the fleet; nil without one.
	FleetDrain(b *backend.Backend) *FleetDrain
	// Hints returns the state of the pool on the living instances of the fleet, by id of the instance.
	// Instances that have not reported it are left out.
	Hints() []Hint
	// Isolated reports whether this instance sees most backends down, while most others of the fleet
	// do not. It has no effect on requests.
	Isolated() bool
}

// SourceState is the state of a source of discovery.
type SourceState struct {
	// Name is the name of the module.
	Name string
	// Backends is the number of backends of its last answer.
	Backends int
	// Error is the latest error of the source; nil while it works, and before its first answer.
	Error error
	// Since is when it began to fail, or to work; zero before the first answer or failure.
	Since time.Time
	// Ignored are entries that the source has found and that are not backends, by name, with the reason.
	// Read-only.
	Ignored map[string]string
}

// FleetDrain is the progress of the drain of a backend in a fleet. Read-only.
type FleetDrain struct {
	// Safe reports that the backend is safe to remove on all living instances. An instance that has not
	// reported so is not safe. None is while the store of the fleet has not been reached.
	Safe bool `json:"safe"`
	// Instances is the number of living instances.
	Instances int `json:"instances"`
	// Waiting are the ids of the instances on which it is not safe, or that have not said so.
	Waiting []string `json:"waiting"`
}

// Hint is the number of members of a pool, and how many of them are down and ejected, on one instance of a fleet.
// Read-only.
type Hint struct {
	// Instance is the id of the instance.
	Instance string
	// Members is the number of backends that the instance has.
	Members int
	// Down and Ejected count those that are in these states.
	Down, Ejected int
	// Digest are its figures; nil if it has not said them.
	Digest *Digest
}

// Digest are the latest figures of a pool on one instance, so that they can be added up over all.
type Digest struct {
	// Requests are attempts per second, Errors failed attempts, and Refused refused requests.
	Requests float64 `json:"requests"`
	Errors   float64 `json:"errors"`    // see Requests
	Refused  float64 `json:"refused"`   // see Requests
	InFlight int     `json:"in_flight"` // requests
}

// Origin is the source of a backend.
type Origin string

// The origins.
const (
	Configured Origin = "configuration"
	Added      Origin = "operator"     // through a [Manager]
	Registered Origin = "registration" // at run time, by the backend itself
	Discovered Origin = "discovery"
)

// PoolChecker checks whether a configuration defines a pool. The ballast app implements it.
type PoolChecker interface {
	// CheckPool returns an error if the configuration defines no pool of this name. A pool of
	// registered backends only counts as defined. ctx is the context of the registering handler.
	CheckPool(ctx caddy.Context, pool string) error
}
