// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/internal/clip"
	"github.com/ballast-lb/caddy-ballast/internal/fleet"
)

// recordTable holds the records of one topic of a fleet. It keeps removals, too, until their TTL is
// over, so that an older record cannot return. It implements [fleet.Topic]. Safe for concurrent use.
type recordTable struct {
	// check returns why a record of another instance is invalid, or nil.
	check func(key string, value []byte) error
	// arrived is called without a lock after records of other instances have changed the table. It
	// must not block.
	arrived func()
	// logger logs the records that are dropped.
	logger *zap.Logger
	// most bounds the records of other instances.
	most int

	// Set by join, before put is called.
	topic     string
	publisher *fleet.Publisher

	mu      sync.Mutex // guards the fields below; never held during calls to other packages
	records map[string]tableRecord
	changed map[string]bool // keys of the records of other instances that take has not returned
	logged  time.Time       // when a dropped record was logged last
}

// tableRecord is a record of a [recordTable]. Its value is read-only.
type tableRecord struct {
	version uint64
	value   []byte
	until   time.Time
}

// dropLogEvery is the least interval of log lines about dropped records.
const dropLogEvery = time.Minute

var errTableFull = errors.New("there are too many records of this kind")

// join makes the table a topic of a fleet. fill may add what there is already.
func (t *recordTable) join(f *fleet.Fleet, topic string, fill func()) {
	t.records, t.changed = make(map[string]tableRecord), make(map[string]bool)
	t.topic = topic
	fill()
	t.publisher = f.Join(topic, t)
}

// Apply implements [fleet.Topic].
func (t *recordTable) Apply(records []fleet.Record) {
	now, any := time.Now(), false
	var dropped *fleet.Record
	var reason error
	t.mu.Lock()
	for i := range records {
		r := &records[i]
		changed, err := t.merge(r, now)
		if err != nil {
			dropped, reason = r, err
		}
		if changed {
			any = true
			t.changed[r.Key] = true
		}
	}
	if reason != nil && !t.logged.IsZero() && now.Sub(t.logged) < dropLogEvery {
		reason = nil
	}
	if reason != nil {
		t.logged = now
	}
	t.mu.Unlock()
	if reason != nil {
		t.logger.Warn("a record of another instance is invalid and ignored",
			zap.String("topic", clip.Text(dropped.Topic)), zap.String("key", clip.Text(dropped.Key)), zap.Error(clip.Error(reason)))
	}
	if any {
		t.arrived()
	}
}

// merge merges a record, and reports whether that has changed the table. The caller must hold t.mu.
func (t *recordTable) merge(r *fleet.Record, now time.Time) (changed bool, err error) {
	next := tableRecord{r.Version, r.Value, now.Add(r.TTL)}
	old, known := t.records[r.Key]
	if known {
		switch order := next.compare(old); {
		case order < 0:
			return false, nil
		case order == 0 && !next.until.After(old.until):
			return false, nil
		case order == 0:
			t.records[r.Key] = next
			return true, nil
		}
	}
	switch err := t.check(r.Key, r.Value); {
	case r.TTL <= 0:
		return false, nil
	case err != nil:
		return false, err
	case !known && len(t.records) >= t.most:
		return false, errTableFull
	}
	t.records[r.Key] = next
	return true, nil
}

// compare returns which of two records wins, as [fleet.Record.Compare].
func (r tableRecord) compare(other tableRecord) int {
	a, b := fleet.Record{Version: r.version, Value: r.value}, fleet.Record{Version: other.version, Value: other.value}
	return a.Compare(&b)
}

// All implements [fleet.Topic].
func (t *recordTable) All(yield func(fleet.Record) bool) {
	t.mu.Lock()
	all := maps.Clone(t.records)
	t.mu.Unlock()
	now := time.Now()
	for key, r := range all {
		if ttl := r.until.Sub(now); ttl > 0 && !yield(fleet.Record{Key: key, Version: r.version, Value: r.value, TTL: ttl}) {
			return
		}
	}
}

// keep adds a record without pushing it, unless there is one. [recordTable.All] yields it, so it
// reaches the other instances if the store has no later one.
func (t *recordTable) keep(key string, version uint64, value []byte, ttl time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.records[key]; !known {
		t.records[key] = tableRecord{version, value, time.Now().Add(ttl)}
	}
}

// put adds a record of this instance and pushes it. If another instance's is later, that one stays,
// and counts as one that has arrived.
func (t *recordTable) put(key string, version uint64, value []byte, ttl time.Duration) {
	next := tableRecord{version, value, time.Now().Add(ttl)}
	t.mu.Lock()
	old, known := t.records[key]
	if known && next.compare(old) < 0 {
		t.changed[key] = true
		t.mu.Unlock()
		t.arrived()
		return
	}
	t.records[key] = next
	delete(t.changed, key)
	t.mu.Unlock()
	t.publisher.Publish(key, version, value, ttl)
}

// get returns a living record.
func (t *recordTable) get(key string) (tableRecord, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r, ok := t.records[key]
	return r, ok && time.Now().Before(r.until)
}

// take returns the keys of the records of other instances that have come since the last call.
func (t *recordTable) take() map[string]bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	taken := t.changed
	t.changed = make(map[string]bool)
	return taken
}

// touch makes take return the key of a record again.
func (t *recordTable) touch(key string) {
	t.mu.Lock()
	t.changed[key] = true
	t.mu.Unlock()
	t.arrived()
}

// waits reports whether records of other instances wait for take.
func (t *recordTable) waits() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.changed) > 0
}

// sweep removes expired records and returns them.
func (t *recordTable) sweep() map[string]tableRecord {
	now, gone := time.Now(), make(map[string]tableRecord)
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, r := range t.records {
		if !now.Before(r.until) {
			gone[key] = r
			delete(t.records, key)
		}
	}
	return gone
}

// keys returns the keys of all records.
func (t *recordTable) keys() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Keys(t.records))
}

// Interface guard
var _ fleet.Topic = (*recordTable)(nil)
