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
	"github.com/ballast-lb/caddy-ballast/internal/persist"
)

// recordTable holds the records of one topic of a fleet. It keeps removals until their TTL is over, so that an older
// record cannot return. It implements [fleet.Topic]. Safe for concurrent use after join.
type recordTable struct {
	// check returns an error if a record of another instance is invalid.
	check func(key string, value []byte) error
	// arrived is called, without a lock, after records of other instances have changed the table. It
	// must not block. Nil for none.
	arrived func()
	// renewed reports that instances renew their records: of equal ones, the table keeps the one that
	// expires later. Else it keeps the one that expires earlier, since a record that took long to
	// arrive seems to expire later than it does.
	renewed bool
	// most is the most records of other instances. Further keys are dropped.
	most int

	// Set by join, then read-only.
	topic     string
	publisher *fleet.Publisher
	logger    *zap.Logger // of dropped records

	mu      sync.Mutex // guards the fields below; never held during calls to other packages
	records map[string]tableRecord
	changed map[string]bool // keys of records of other instances that take has not returned yet
	own     map[string]bool // keys of records that this instance has made
	logged  time.Time       // when a dropped record was last logged
}

// tableRecord is a record of a [recordTable]. Its value is read-only.
type tableRecord struct {
	version uint64
	value   []byte
	until   time.Time
}

// dropLogEvery is the least interval between two log lines about dropped records.
const dropLogEvery = time.Minute

var errTableFull = errors.New("there are too many records of this kind")

// join makes the table a topic of the fleet of a pool. fill may add records with keep; nil for none.
func (t *recordTable) join(p *Pool, kind string, fill func()) {
	t.records, t.changed, t.own = make(map[string]tableRecord), make(map[string]bool), make(map[string]bool)
	t.topic, t.logger = kind+"/"+p.Name, p.app.logger
	if fill != nil {
		fill()
	}
	t.publisher = p.ofFleet().Join(t.topic, t)
}

// notify calls arrived.
func (t *recordTable) notify() {
	if t.arrived != nil {
		t.arrived()
	}
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
		t.notify()
	}
}

// merge merges a record of another instance, and reports whether the table has changed. The caller must hold t.mu.
func (t *recordTable) merge(r *fleet.Record, now time.Time) (changed bool, err error) {
	next := tableRecord{r.Version, r.Value, now.Add(r.TTL)}
	old, known := t.records[r.Key]
	if known {
		switch order := next.compare(old); {
		case order < 0:
			return false, nil
		case order == 0 && next.until.Equal(old.until), order == 0 && next.until.After(old.until) != t.renewed:
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
	delete(t.own, r.Key)
	return true, nil
}

// compare compares two records as [fleet.Record.Compare] does.
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

// keep adds a record, unless the key has one, without publishing it. The next resync pushes it if the store has no
// later one.
func (t *recordTable) keep(key string, version uint64, value []byte, ttl time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.records[key]; !known {
		t.records[key] = tableRecord{version, value, time.Now().Add(ttl)}
	}
}

// resume adds the records that this instance has made before its restart.
func (t *recordTable) resume(saved []persist.FleetRecord, rollout bool) {
	for _, r := range saved {
		if ttl := time.Until(r.Until); r.Rollout == rollout && ttl > 0 && t.check(r.Key, []byte(r.Value)) == nil {
			t.keep(r.Key, r.Version, []byte(r.Value), ttl)
			t.mu.Lock()
			t.own[r.Key] = true
			t.mu.Unlock()
		}
	}
}

// made returns the records that this instance has made, to be resumed after a restart.
func (t *recordTable) made(rollout bool) (all []persist.FleetRecord) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key := range t.own {
		r := t.records[key]
		all = append(all, persist.FleetRecord{Rollout: rollout, Key: key, Version: r.version, Value: string(r.value), Until: r.until})
	}
	return all
}

// version returns the version of a change that this instance makes now. It is greater than all versions that the instance
// has seen, and than that of the record, whose clock may be so far ahead that the fleet's clock does not follow it.
func (t *recordTable) version(f *fleet.Fleet, key string) uint64 {
	t.mu.Lock()
	known := t.records[key].version
	t.mu.Unlock()
	return max(f.Now(), known+1) // known+1 is 0 after the greatest version
}

// put adds a record of this instance and publishes it. If the table has a later record of another instance, put keeps
// that one, and take returns its key again.
func (t *recordTable) put(key string, version uint64, value []byte, ttl time.Duration) {
	next := tableRecord{version, value, time.Now().Add(ttl)}
	t.mu.Lock()
	old, known := t.records[key]
	if known && next.compare(old) < 0 {
		t.changed[key] = true
		t.mu.Unlock()
		t.notify()
		return
	}
	t.records[key], t.own[key] = next, true
	delete(t.changed, key)
	t.mu.Unlock()
	t.publisher.Publish(key, version, value, ttl)
}

// get returns the record of a key. It returns false if there is none or it has expired.
func (t *recordTable) get(key string) (tableRecord, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r, ok := t.records[key]
	return r, ok && time.Now().Before(r.until)
}

// take returns the keys whose records other instances have changed since the last call.
func (t *recordTable) take() map[string]bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	taken := t.changed
	t.changed = make(map[string]bool)
	return taken
}

// touch makes the next take return a key again.
func (t *recordTable) touch(key string) {
	t.mu.Lock()
	t.changed[key] = true
	t.mu.Unlock()
	t.notify()
}

// waits reports whether take would return any keys.
func (t *recordTable) waits() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.changed) > 0
}

// sweep removes and returns expired records.
func (t *recordTable) sweep() map[string]tableRecord {
	now, gone := time.Now(), make(map[string]tableRecord)
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, r := range t.records {
		if !now.Before(r.until) {
			gone[key] = r
			delete(t.records, key)
			delete(t.changed, key) // tables of which nobody takes the changes would grow
			delete(t.own, key)
		}
	}
	return gone
}

// keys returns the keys of all records, also of expired ones.
func (t *recordTable) keys() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Keys(t.records))
}

// Interface guard
var _ fleet.Topic = (*recordTable)(nil)
