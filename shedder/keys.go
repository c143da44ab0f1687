// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shedder

import (
	"fmt"
	"net/http"
	"sync"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/key"
	"github.com/ballast-lb/caddy-ballast/shedder/internal/admission"
)

// Per gives each key a limiter of its own, so that no client takes what is for
// others. Requests without the key share one.
type Per struct {
	// Key is client_ip, uri, path, host, header, query, cookie, or a text with
	// placeholders. Required.
	Key string `json:"key"`
	// KeyName is the name of the header field, query parameter or cookie.
	KeyName string `json:"key_name,omitempty"`
	// MaxKeys is how many keys are remembered, from 16 to 10,000,000. Beyond it,
	// the one is forgotten that has been idle for longest; while none is idle, new
	// ones share a limiter, each until all of its requests are over. Default: 10,000.
	MaxKeys int `json:"max_keys,omitempty"`

	key key.RequestKey
}

const (
	defaultMaxKeys = 10_000
	minKeys        = shards
	maxKeys        = 10_000_000
)

func (p *Per) provision() (err error) {
	if p.key, err = key.NewRequestKey(p.Key, p.KeyName); err != nil {
		return fmt.Errorf("per: %w", err)
	}
	if p.MaxKeys != 0 && (p.MaxKeys < minKeys || p.MaxKeys > maxKeys) {
		return fmt.Errorf("max_keys must be from %d to %d, got %d", minKeys, maxKeys, p.MaxKeys)
	}
	return nil
}

// shards is how many parts a table has, each with a lock.
const shards = 16

// gateTable holds the gates of keys. Safe for concurrent use.
type gateTable struct {
	config admission.Config
	key    key.RequestKey
	shards [shards]shard
}

// shard is a part of a table. The lock guards all of it.
type shard struct {
	mu      sync.Mutex
	gates   map[uint64]*entry
	max     int
	idlest  entry // the ends of a ring of those nobody uses, the latest first
	shared  *entry
	sharers map[uint64]int // the requests of each key that use what is shared
}

// entry is the gate of a key.
type entry struct {
	*admission.Gate
	key        uint64
	users      int
	next, prev *entry // while nobody uses it
}

func newTable(config admission.Config, per *Per) *gateTable {
	t := &gateTable{config: config, key: per.key}
	n := per.MaxKeys
	if n == 0 {
		n = defaultMaxKeys
	}
	for i := range t.shards {
		s := &t.shards[i]
		s.gates, s.max = make(map[uint64]*entry), n/shards
		s.idlest.next, s.idlest.prev = &s.idlest, &s.idlest
		if i < n%shards {
			s.max++
		}
	}
	return t
}

// gate returns the gate of a request's key, and what to call when it is over.
func (t *gateTable) gate(r *http.Request) (*admission.Gate, func()) {
	k, _ := t.key.Hash(r) // of those without a key it is the same
	s := &t.shards[k%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.gates[k]
	switch {
	case e != nil:
		if e.users == 0 {
			e.unlink()
		}
	case s.sharers[k] > 0:
		return s.share(t, k) // with one of its own it would have twice its limit
	case len(s.gates) < s.max:
		e = s.add(t, k)
	case s.idlest.prev != &s.idlest:
		oldest := s.idlest.prev
		oldest.unlink()
		delete(s.gates, oldest.key)
		e = s.add(t, k)
	default:
		return s.share(t, k)
	}
	e.users++
	return e.Gate, func() { s.release(e) }
}

func (s *shard) add(t *gateTable, k uint64) *entry {
	e := &entry{Gate: admission.NewGate(t.config, clock.Now()), key: k}
	s.gates[k] = e
	return e
}

// share returns the gate of keys that have none of their own, and what to call when it
// is over. A key stays with it until all of its requests are.
func (s *shard) share(t *gateTable, k uint64) (*admission.Gate, func()) {
	if s.shared == nil {
		s.shared = &entry{Gate: admission.NewGate(t.config, clock.Now())}
		s.sharers = make(map[uint64]int)
	}
	s.sharers[k]++
	return s.shared.Gate, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.sharers[k]--; s.sharers[k] == 0 {
			delete(s.sharers, k)
		}
	}
}

func (s *shard) release(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.users--; e.users == 0 {
		e.next, e.prev = s.idlest.next, &s.idlest
		e.next.prev, e.prev.next = e, e
	}
}

func (e *entry) unlink() {
	e.next.prev, e.prev.next = e.prev, e.next
	e.next, e.prev = nil, nil
}

// total returns how many keys there are, and sums over their gates.
func (t *gateTable) total() (keys, inFlight, waiting int) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		keys += len(s.gates)
		for _, e := range s.gates {
			inFlight += e.InFlight()
			waiting += e.Waiting()
		}
		if s.shared != nil {
			inFlight += s.shared.InFlight()
			waiting += s.shared.Waiting()
		}
		s.mu.Unlock()
	}
	return keys, inFlight, waiting
}
