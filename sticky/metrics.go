// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"iter"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/instances"
	"github.com/ballast-lb/caddy-ballast/internal/metrics"
)

// The pool is empty for the sum of all lists of upstreams.
var (
	declared metrics.Series
	series   = declared.Group("", "pool")

	descOutcomes = series("session_requests_total", "Number of attempts, by affinity of the session: new, kept, moved or spilled.", "session")
	descRecent   = series("backend_sessions", "Estimated number of sessions of a backend that were used in the last minute.", "backend")
	descEntries  = series("session_store_entries", "Number of sessions in the store, if the store counts them.")
	descLookups  = series("session_store_lookups_total", "Number of session lookups in the store, by result: hit or miss.", "result")
	descRemoved  = series("session_store_removed_total", "Number of sessions removed from the store, by reason: expired, or evicted to make room.", "reason")
)

// listed are the policies of all loaded configurations.
var listed = instances.NewList(&declared, collect)

// sums are the sums of the counters for one pool.
type sums struct {
	outcomes [outcomes]uint64
	backends map[string]float64
	store    Stats
}

// collect emits the sums of the counters for each pool.
func collect(scrape metrics.Emitter, policies iter.Seq[*Sticky]) {
	for pool, s := range sum(policies) {
		emit := scrape.With(pool)
		for o, n := range s.outcomes {
			emit.Counter(descOutcomes, float64(n), outcomeNames[o].(string))
		}
		for id, n := range s.backends {
			emit.Gauge(descRecent, n, id)
		}
		if n := s.store.Entries; n != nil {
			emit.Gauge(descEntries, float64(*n))
		}
		for _, c := range []struct {
			desc  *prometheus.Desc
			n     *uint64
			label string
		}{
			{descLookups, s.store.Hits, "hit"}, {descLookups, s.store.Misses, "miss"},
			{descRemoved, s.store.Expired, "expired"}, {descRemoved, s.store.Evicted, "evicted"},
		} {
			if c.n != nil {
				emit.Counter(c.desc, float64(*c.n), c.label)
			}
		}
	}
}

// sum adds up the counters by pool. Counters that several policies share are added once.
func sum(policies iter.Seq[*Sticky]) map[string]*sums {
	pools, seenStats, seenUsage, tables := make(map[string]*sums), make(map[*sessionStats]bool), make(map[*usage]bool), make(map[any]bool)
	for p := range policies {
		pool := ""
		if p.pool != nil {
			pool = p.pool.Name
		}
		s := pools[pool]
		if s == nil {
			s = &sums{backends: make(map[string]float64)}
			pools[pool] = s
		}
		p.checkWindow(time.Now()) // also without traffic
		if !seenStats[p.stats] {
			seenStats[p.stats] = true
			for o := range s.outcomes {
				s.outcomes[o] += p.stats.outcomes[o].Load()
			}
		}
		if r := p.index.Load(); p.pool != nil && r != nil && !seenUsage[p.usage] {
			seenUsage[p.usage] = true
			s.addUsage(p, r)
		}
		counter := p.counter()
		if counter == nil {
			continue
		}
		if t := counter.Table(); !tables[t] {
			tables[t] = true
			s.store.add(counter.Stats())
		}
	}
	return pools
}

// addUsage adds the sessions of the members. Until the first minute is complete, it omits
// backends without sessions.
func (s *sums) addUsage(p *Sticky, r *memberIndex) {
	now := clock.Now()
	complete := p.local() || p.usage.complete(now)
	for _, m := range r.members {
		if n := m.recent.count(now); n > 0 || complete {
			s.backends[m.ID] += float64(n)
		}
	}
}

// add adds the metrics of another store.
func (s *Stats) add(o Stats) {
	s.Entries = sumOf(s.Entries, o.Entries)
	s.Hits, s.Misses = sumOf(s.Hits, o.Hits), sumOf(s.Misses, o.Misses)
	s.Expired, s.Evicted = sumOf(s.Expired, o.Expired), sumOf(s.Evicted, o.Evicted)
}

// sumOf returns the sum of two numbers, where nil is unknown.
func sumOf[T int | uint64](a, b *T) *T {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	sum := *a + *b
	return &sum
}
