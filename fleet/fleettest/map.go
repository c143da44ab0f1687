// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleettest

import (
	"sync"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/fleet"
)

// Map is a topic that holds records in a map. Safe for concurrent use.
type Map struct {
	mu      sync.Mutex
	records map[string]stored
	p       *fleet.Publisher
}

// Join returns a new map that has joined a fleet as a topic.
func Join(f *fleet.Fleet, topic string) *Map {
	m := &Map{records: make(map[string]stored)}
	p := f.Join(topic, m)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.p = p
	return m
}

// Apply implements [fleet.Topic].
func (m *Map) Apply(records []fleet.Record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for _, r := range records {
		s := stored{r, now.Add(r.TTL)}
		if old, ok := m.records[r.Key]; ok && old.expires.After(now) {
			if order := r.Compare(&old.Record); order < 0 || order == 0 && !s.expires.After(old.expires) {
				continue
			}
		}
		m.records[r.Key] = s
	}
}

// All implements [fleet.Topic].
func (m *Map) All(yield func(fleet.Record) bool) {
	m.mu.Lock()
	now := time.Now()
	all := make([]fleet.Record, 0, len(m.records))
	for _, s := range m.records {
		if r, ok := s.at(now); ok {
			all = append(all, r)
		}
	}
	m.mu.Unlock()
	for _, r := range all {
		if !yield(r) {
			return
		}
	}
}

// Set sets the value of a key, and publishes it.
func (m *Map) Set(f *fleet.Fleet, key, value string, ttl time.Duration) {
	r := fleet.Record{Key: key, Version: f.Now(), Value: []byte(value), TTL: ttl}
	m.Apply([]fleet.Record{r})
	m.mu.Lock()
	p := m.p
	m.mu.Unlock()
	p.Publish(r.Key, r.Version, r.Value, r.TTL)
}

// Get returns the value of a key, or false if it has none.
func (m *Map) Get(key string) (string, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.records[key]
	return string(s.Value), ok && s.expires.After(time.Now())
}

// Len returns the number of records, including expired ones.
func (m *Map) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.records)
}

// Values returns the values of all keys.
func (m *Map) Values() map[string]string {
	all := make(map[string]string)
	m.All(func(r fleet.Record) bool {
		all[r.Key] = string(r.Value)
		return true
	})
	return all
}

// Leave ends the membership of the topic.
func (m *Map) Leave() {
	m.mu.Lock()
	p := m.p
	m.mu.Unlock()
	p.Leave()
}

// Interface guards
var _ fleet.Topic = (*Map)(nil)
