// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleettest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/fleet"
)

// Memory is a store in memory, with its own faults and those of each [Link]. Safe for concurrent
// use.
type Memory struct {
	Faults

	mu          sync.Mutex // guards the fields below
	incarnation int
	records     map[recordID]stored
	purgeAt     int      // number of records at which expired ones are removed
	history     []logged // the latest changes
	first       int      // position of the first of history
	epoch       int      // of positions; a new one makes a gap
	bound       int      // of history
	generation  uint64
	instances   map[string]living
	sorted      []fleet.Instance // instances by id; nil if not up to date
	changed     chan struct{}    // closed with the next change
	traffic     Traffic
}

type recordID struct{ topic, key string }

type stored struct {
	fleet.Record
	expires time.Time
}

// logged is a change, and the instance that pushed it.
type logged struct {
	stored
	from string
}

type living struct {
	fleet.Instance
	expires time.Time
}

// History is the number of changes that a new [Memory] keeps.
const History = 10_000

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{
		incarnation: 1, records: make(map[recordID]stored), purgeAt: 1000, bound: History,
		instances: make(map[string]living), changed: make(chan struct{}),
	}
}

// Link is the link of one instance to a [Memory], with its own faults. It is a [fleet.Store].
type Link struct {
	Faults
	memory      *Memory
	own, common string // see Rename
}

// Link returns a new link.
func (m *Memory) Link() *Link { return &Link{memory: m} }

// Open implements [fleet.Store]. The link of the connection has no faults.
func (m *Memory) Open() (fleet.Conn, error) { return m.Link().Open() }

// Open implements [fleet.Store].
func (l *Link) Open() (fleet.Conn, error) {
	c := &memoryConn{link: l, m: l.memory}
	if l.own != l.common {
		return renamedConn{c, l.own, l.common}, nil
	}
	return c, nil
}

// Lose makes the store lose its records, changes and instances.
func (m *Memory) Lose() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.incarnation++
	clear(m.records)
	clear(m.instances)
	m.generation, m.sorted = 0, nil
	m.gap()
}

// Gap makes the store lose the changes, but not the records.
func (m *Memory) Gap() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gap()
}

func (m *Memory) gap() {
	m.epoch++
	m.first += len(m.history)
	m.history = nil
	m.wake()
}

// SetHistory sets how many changes the store keeps.
func (m *Memory) SetHistory(bound int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bound = bound
}

// Records returns the living records, by topic and key.
func (m *Memory) Records() []fleet.Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []fleet.Record
	now := time.Now()
	for _, s := range m.records {
		if r, ok := s.at(now); ok {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b fleet.Record) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), strings.Compare(a.Key, b.Key))
	})
	return all
}

// at returns the record with its remaining TTL, or false if it has expired.
func (s *stored) at(now time.Time) (fleet.Record, bool) {
	r := s.Record
	r.TTL = s.expires.Sub(now)
	return r, r.TTL > 0
}

// wake wakes the calls that wait for a change. The caller must hold the lock.
func (m *Memory) wake() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// membersChanged begins another generation of instances. The caller must hold the lock.
func (m *Memory) membersChanged() {
	m.generation++
	m.sorted = nil
	m.wake()
}

// expire removes dead instances. The caller must hold the lock.
func (m *Memory) expire(now time.Time) {
	before := len(m.instances)
	for id, i := range m.instances {
		if !i.expires.After(now) {
			delete(m.instances, id)
		}
	}
	if len(m.instances) != before {
		m.membersChanged()
	}
}

// purge occasionally removes expired records. The caller must hold the lock.
func (m *Memory) purge(now time.Time) {
	if len(m.records) < m.purgeAt {
		return
	}
	for id, s := range m.records {
		if !s.expires.After(now) {
			delete(m.records, id)
		}
	}
	m.purgeAt = max(1000, 2*len(m.records))
}

// memoryConn is the connection of one instance.
type memoryConn struct {
	link *Link
	m    *Memory

	mu       sync.Mutex // guards the fields below
	id       string
	reported uint64 // latest generation that the instance was reported
}

func (c *memoryConn) pass(ctx context.Context, first bool) error {
	if err := c.m.Faults.pass(ctx, first); err != nil {
		return err
	}
	return c.link.Faults.pass(ctx, first)
}

// Beat implements [fleet.Conn].
func (c *memoryConn) Beat(ctx context.Context, self fleet.Instance, ttl time.Duration, known uint64) (b fleet.Beat, err error) {
	if err := c.pass(ctx, true); err != nil {
		return b, err
	}
	m, now := c.m, time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire(now)
	before, ok := m.instances[self.ID]
	m.instances[self.ID] = living{self, now.Add(ttl)}
	if !ok || before.Zone != self.Zone {
		m.membersChanged()
	}
	b = fleet.Beat{Generation: m.generation, Acknowledged: self.Acknowledged, Incarnation: strconv.Itoa(m.incarnation)}
	for _, i := range m.instances {
		b.Acknowledged = min(b.Acknowledged, i.Acknowledged)
	}
	if known != m.generation {
		if m.sorted == nil {
			for _, i := range m.instances {
				m.sorted = append(m.sorted, i.Instance)
			}
			slices.SortFunc(m.sorted, func(a, b fleet.Instance) int { return strings.Compare(a.ID, b.ID) })
		}
		b.Instances = m.sorted
	}
	c.mu.Lock()
	c.id, c.reported = self.ID, m.generation
	c.mu.Unlock()
	m.traffic.Beats.add(instanceSize(self)+16, 24+sum(b.Instances, instanceSize))
	return b, nil
}

// Leave implements [fleet.Conn].
func (c *memoryConn) Leave(ctx context.Context, id string) error {
	if err := c.pass(ctx, true); err != nil {
		return err
	}
	m := c.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.instances[id]; ok {
		delete(m.instances, id)
		m.membersChanged()
	}
	return nil
}

// Push implements [fleet.Conn].
func (c *memoryConn) Push(ctx context.Context, from string, records []fleet.Record) error {
	if err := c.pass(ctx, true); err != nil {
		return err
	}
	m, now := c.m, time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	changed := false
	for _, r := range records {
		if !r.Valid() {
			return fmt.Errorf("invalid record %q of %s", r.Key, r.Topic)
		}
		id := recordID{r.Topic, r.Key}
		s := stored{r, now.Add(r.TTL)}
		if old, ok := m.records[id]; ok && old.expires.After(now) {
			order := r.Compare(&old.Record)
			if order < 0 || order == 0 && !s.expires.After(old.expires) {
				continue
			}
		}
		s.Value = slices.Clone(r.Value)
		m.records[id] = s
		m.history = append(m.history, logged{s, from})
		changed = true
	}
	if over := len(m.history) - m.bound; over > 0 {
		m.first += over
		m.history = m.history[over:]
	}
	if changed {
		m.wake()
	}
	m.purge(now)
	m.traffic.Pushes.add(sum(records, recordSize), 8)
	return nil
}

// page bounds the records that are returned at a time.
const page = 1000

// Changes implements [fleet.Conn].
func (c *memoryConn) Changes(ctx context.Context, after fleet.Cursor, wait time.Duration) (changes fleet.Changes, err error) {
	if err := c.pass(ctx, true); err != nil {
		return changes, err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for over := false; ; {
		changed, ok := c.read(after, &changes)
		if !ok {
			return changes, fleet.ErrGap
		}
		if over || len(changes.Records) > 0 || changes.Instances {
			if err := c.pass(ctx, false); err != nil {
				return fleet.Changes{}, err
			}
			c.m.count(&c.m.traffic.Changes, 24, 24+sum(changes.Records, recordSize))
			return changes, nil
		}
		select {
		case <-changed:
		case <-timer.C:
			over = true
		case <-ctx.Done():
			return fleet.Changes{}, ctx.Err()
		}
	}
}

// read reads the changes after the cursor, and returns a channel that the next change closes; ok is
// false if there is a gap.
func (c *memoryConn) read(after fleet.Cursor, changes *fleet.Changes) (changed <-chan struct{}, ok bool) {
	m, now := c.m, time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	epoch, position, _ := strings.Cut(string(after), "-")
	next, err := strconv.Atoi(position)
	if err != nil || epoch != strconv.Itoa(m.epoch) || next < m.first {
		return nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for ; next-m.first < len(m.history) && len(changes.Records) < page; next++ {
		l := &m.history[next-m.first]
		if r, ok := l.at(now); ok && l.from != c.id {
			changes.Records = append(changes.Records, r)
		}
	}
	changes.Next = m.cursor(next)
	changes.Instances = m.generation != c.reported
	c.reported = m.generation
	return m.changed, true
}

// cursor returns the cursor of a position in the changes. The caller must hold the lock.
func (m *Memory) cursor(position int) fleet.Cursor {
	return fleet.Cursor(strconv.Itoa(m.epoch) + "-" + strconv.Itoa(position))
}

// All implements [fleet.Conn].
func (c *memoryConn) All(ctx context.Context, yield func([]fleet.Record)) (fleet.Cursor, error) {
	if err := c.pass(ctx, true); err != nil {
		return "", err
	}
	m, now := c.m, time.Now()
	m.mu.Lock()
	cursor := m.cursor(m.first + len(m.history))
	all := make([]fleet.Record, 0, len(m.records))
	for _, s := range m.records {
		if r, ok := s.at(now); ok {
			all = append(all, r)
		}
	}
	m.traffic.All.add(16, 24+sum(all, recordSize))
	m.mu.Unlock()
	for some := range slices.Chunk(all, page) {
		if err := c.pass(ctx, false); err != nil {
			return "", err
		}
		yield(some)
	}
	return cursor, nil
}

// Close implements [fleet.Conn].
func (*memoryConn) Close() error { return nil }

// Interface guards
var (
	_ fleet.Store = (*Memory)(nil)
	_ fleet.Store = (*Link)(nil)
	_ fleet.Conn  = (*memoryConn)(nil)
)
