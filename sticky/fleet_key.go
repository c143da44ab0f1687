// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"sync/atomic"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/fleet"
)

// fleetKey is the secret with which the instances of a fleet hash the keys of sessions. Each
// instance proposes one, and the first of them wins: it is a record of the store. Read-only, but
// for used.
type fleetKey struct {
	hashKey
	version uint64
	value   []byte

	used atomic.Bool // sessions were bound with it
}

const (
	fleetKeySize = 16
	// fleetKeyTopic and fleetKeyName are where the store has the secret.
	fleetKeyTopic = "secrets"
	fleetKeyName  = "sessions"
	// fleetKeyTTL is how long the store keeps the secret after a configuration was loaded last.
	// Instances that still have it put it back.
	fleetKeyTTL = 365 * 24 * time.Hour
)

// newFleetKey returns a secret from the store, or false for an invalid one.
func newFleetKey(version uint64, value []byte) (*fleetKey, bool) {
	if len(value) != fleetKeySize || version>>timeBits != 0 {
		return nil, false
	}
	k := &fleetKey{version: version, value: bytes.Clone(value)}
	k.hashKey = hashKey{binary.LittleEndian.Uint64(value), binary.LittleEndian.Uint64(value[8:])}
	return k, true
}

func (k *fleetKey) record() fleet.Record {
	return fleet.Record{Topic: fleetKeyTopic, Key: fleetKeyName, Version: k.version, Value: k.value, TTL: fleetKeyTTL}
}

// keyring holds the secret of a fleet, and is its topic. It outlives configurations. Safe for
// concurrent use.
type keyring struct {
	membership
	current atomic.Pointer[fleetKey]
	former  atomic.Pointer[formerKey] // nil nearly always
	life    atomic.Int64              // the longest life of a session, in seconds
}

// formerKey is a secret that sessions were bound with before another one won.
type formerKey struct {
	*fleetKey
	until int64 // in seconds since 1970
}

// keyringKey is the key of a shared keyring.
type keyringKey struct{ network any }

func newKeyring() *keyring {
	value := make([]byte, fleetKeySize)
	_, _ = rand.Read(value) // never fails
	k, _ := newFleetKey(firstVersion(time.Now().UnixMilli()), value)
	r := new(keyring)
	r.current.Store(k)
	return r
}

// start adds a user whose sessions live for life, and publishes the secret to the other instances.
func (r *keyring) start(n network, life int64) {
	for {
		was := r.life.Load()
		if life <= was || r.life.CompareAndSwap(was, life) {
			break
		}
	}
	r.begin(func() publisher { return n.join(fleetKeyTopic, r) })
	r.publish(r.current.Load().record())
}

// Apply implements [fleet.Topic]. It adopts a secret that wins. If the own one does, the other
// instance does not know it, and is told. Sessions with a former secret are found for as long as
// they can live.
func (r *keyring) Apply(records []fleet.Record) {
	for i := range records {
		next, ok := newFleetKey(records[i].Version, records[i].Value)
		if !ok || records[i].Key != fleetKeyName {
			continue
		}
		for adopted := false; !adopted; {
			was := r.current.Load()
			c := cmp.Or(cmp.Compare(next.version, was.version), bytes.Compare(next.value, was.value))
			if c < 0 {
				r.publish(was.record())
			}
			if c <= 0 {
				break
			}
			if adopted = r.current.CompareAndSwap(was, next); adopted && was.used.Load() {
				r.former.Store(&formerKey{was, now() + r.life.Load()})
			}
		}
	}
}

// All implements [fleet.Topic].
func (r *keyring) All(yield func(fleet.Record) bool) { yield(r.current.Load().record()) }

// formerAt returns the former secret while sessions may have it, or nil.
func (r *keyring) formerAt(now int64) *formerKey {
	f := r.former.Load()
	if f != nil && now >= f.until {
		r.former.CompareAndSwap(f, nil)
		return nil
	}
	return f
}

// Interface guards
var _ fleet.Topic = (*keyring)(nil)
