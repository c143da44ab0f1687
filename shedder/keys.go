// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shedder

import (
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
	"github.com/ballast-lb/caddy-ballast/shedder/internal/admission"
)

// Per gives each key its own limiter, so that no client takes the capacity of others. Requests
// without the key share one limiter.
type Per struct {
	// Key is client_ip, uri, path, host, header, query, cookie, or a text with placeholders.
	// Required.
	Key string `json:"key"`
	// KeyName is the name of the header field, query parameter or cookie.
	KeyName string `json:"key_name,omitempty"`
	// MaxKeys is the maximum number of keys with their own limiters, from 16 to 10,000,000. Beyond
	// it, a new key replaces the one that has been idle longest. While none is idle, new keys share
	// a limiter, each until all of its requests have ended. Default: 10,000.
	MaxKeys int `json:"max_keys,omitempty"`

	key httpx.RequestKey
}

const (
	defaultMaxKeys = 10_000
)

// keyCounts bounds max_keys.
var keyCounts = caddyfileutil.Ints{Min: shards, Max: 10_000_000}

func (p *Per) provision() (err error) {
	if p.key, err = httpx.NewRequestKey(p.Key, p.KeyName); err != nil {
		return fmt.Errorf("per: %w", err)
	}
	if p.MaxKeys == 0 {
		return nil
	}
	return keyCounts.Check("max_keys", p.MaxKeys)
}

// shards is the number of parts of a table, each with its own lock.
const shards = 16

// gateTable holds the gates of keys. Safe for concurrent use.
type gateTable struct {
	config admission.Config
	key    httpx.RequestKey
	shards [shards]shard
}

// shard is a part of a gateTable. mu guards all fields.
type shard struct {
	mu      sync.Mutex
	gates   map[uint64]*entry
	max     int
	idlest  entry // head of a ring of unused entries, the most recently used first
	shared  *entry
	sharers map[uint64]int // by key: the number of requests that use the shared gate
}

// entry is the gate of a key.
type entry struct {
	*admission.Gate
	key        uint64
	users      int
	next, prev *entry // in the ring; set while users is 0
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

// gate returns the gate of a request's key, and the function to call at the request's end.
func (t *gateTable) gate(r *http.Request) (*admission.Gate, func()) {
	k, _ := t.key.Hash(r) // requests without a key have the same hash
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
		return s.share(t, k) // a second gate would double the limit of the key
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

// share returns the gate of keys without their own, and the function to call at the request's
// end. A key uses it until all of its requests have ended.
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

// setLimit sets the limit of each key.
func (t *gateTable) setLimit(now time.Duration, limit int) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for _, e := range s.gates {
			e.SetLimit(now, limit)
		}
		if s.shared != nil {
			s.shared.SetLimit(now, limit)
		}
		s.mu.Unlock()
	}
}

// total returns the number of keys, and the sums over all gates.
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
