// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/fleet"
	"github.com/ballast-lb/caddy-ballast/internal/shared"
)

// Replicated opens the sessions of a scope in a table of this process, which is replicated over a
// fleet: each instance answers from its own table, tells the others of what it binds, moves and
// touches, and learns the same from them. The sessions are [Local] and a [Counter]. A scope of a
// pool without a name may differ between instances, so its sessions stay in this process.
//
// A session that two instances bind at a time belongs to the first binding on both, soon. The keys
// of sessions in the fleet's store are hashes with a secret that the instances agree on. Beyond
// maxEntries, the sessions that were idle for longest are removed from this instance alone.
func Replicated(f *fleet.Fleet, scope string, l Lifetimes, maxEntries int) Sessions {
	return openMemory(networkOf(f), scope, rules{l, maxEntries})
}

// network is the part of a fleet that sessions use. The zero value is no fleet.
type network struct {
	id   any // identifies the fleet
	join func(name string, t fleet.Topic) publisher
}

// publisher is implemented by [fleet.Publisher].
type publisher interface {
	Publish(key string, version uint64, value []byte, ttl time.Duration)
	Leave()
}

func networkOf(f *fleet.Fleet) network {
	if f == nil {
		return network{}
	}
	return network{f, func(name string, t fleet.Topic) publisher { return f.Join(name, t) }}
}

// named reports whether a scope belongs to a pool with a configured name, which is the same on all instances.
func named(scope string) bool { return !strings.HasPrefix(scope, "\n") }

// topicOf returns the topic of a scope.
func topicOf(scope string) string {
	const prefix = "sessions/"
	if name := prefix + strings.ReplaceAll(scope, "\n", "/"); len(name) <= fleet.MaxName {
		return name
	}
	sum := sha256.Sum256([]byte(scope))
	return prefix + hex.EncodeToString(sum[:])
}

// membership is the membership of a topic while it has users: the configurations that have the same
// sessions open, of which there are two around a reload. The zero value has none. Safe for
// concurrent use.
type membership struct {
	mu        sync.Mutex // held while a user begins or ends
	users     int
	publisher atomic.Pointer[publisher] // the latest; nil before the first user
}

// begin adds a user. The first one joins the topic.
func (m *membership) begin(join func() publisher) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.users++; m.users == 1 {
		p := join()
		m.publisher.Store(&p)
	}
}

// end removes a user. The last one leaves the topic.
func (m *membership) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.users--; m.users == 0 {
		(*m.publisher.Load()).Leave()
	}
}

// publish publishes a record.
func (m *membership) publish(r fleet.Record) {
	if p := m.publisher.Load(); p != nil {
		(*p).Publish(r.Key, r.Version, r.Value, r.TTL)
	}
}

// replica replicates a table. It outlives configurations. Safe for concurrent use.
type replica struct {
	membership
	table  *table
	keys   *keyring
	opened shared.Generations[*memorySessions]
}

// replicaKey is the key of a shared replica.
type replicaKey struct{ table *table }

// join begins the replication of the sessions of a scope, unless instances cannot share it.
func (s *memorySessions) join(n network, scope string) {
	if n.join == nil || !named(scope) {
		return
	}
	keys := shared.LoadOrNew(&s.refs, keyringKey{n.id}, newKeyring)
	s.replica = shared.LoadOrNew(&s.refs, replicaKey{s.table}, func() *replica { return &replica{table: s.table, keys: keys} })
	keys.start(n, s.rules.life())
	s.replica.opened.Push(s)
	s.replica.begin(func() publisher { return n.join(topicOf(scope), s.replica) })
}

// leave undoes join.
func (s *memorySessions) leave() {
	if s.replica != nil {
		s.replica.end()
		s.replica.opened.Remove(s)
		s.replica.keys.end()
	}
}

// keyOf returns the key of a session in the table and in the store.
func (s *memorySessions) keyOf(k Key, now int64) Key {
	if s.replica == nil {
		return k
	}
	keys := s.replica.keys
	hashed := Key(keys.current.Load().hash(uint64(k)))
	if f := keys.formerAt(now); f != nil {
		if b, ok := s.table.take(Key(f.hash(uint64(k))), now, &s.rules); ok && s.table.merge(hashed, b, now, &s.rules) {
			s.publish(hashed, b, now)
		}
	}
	return hashed
}

// publish tells the other instances of a session.
func (s *memorySessions) publish(k Key, b record, now int64) {
	if s.replica == nil {
		return
	}
	if current := s.replica.keys.current.Load(); !current.used.Load() {
		current.used.Store(true)
	}
	s.replica.publish(s.rules.record(k, b, now))
}

// record returns the record of a session for the store.
func (r *rules) record(k Key, b record, now int64) fleet.Record {
	var key [8]byte
	binary.BigEndian.PutUint64(key[:], uint64(k))
	return fleet.Record{Key: string(key[:]), Version: b.version, Value: b.value(), TTL: time.Duration(max(r.left(b.Binding, now), 1)) * time.Second}
}

// Apply implements [fleet.Topic].
func (p *replica) Apply(records []fleet.Record) {
	s, ok := p.opened.Current()
	if !ok {
		return
	}
	now := now()
	for i := range records {
		r := &records[i]
		if len(r.Key) != 8 {
			continue
		}
		if b, ok := parseRecord(r.Version, r.Value, r.TTL, s.rules.Lifetimes, now); ok {
			p.table.merge(Key(binary.BigEndian.Uint64([]byte(r.Key))), b, now, &s.rules)
		}
	}
}

// All implements [fleet.Topic].
func (p *replica) All(yield func(fleet.Record) bool) {
	if s, ok := p.opened.Current(); ok {
		now := now()
		p.table.each(now, &s.rules, func(k Key, b record) bool { return yield(s.rules.record(k, b, now)) })
	}
}

// Interface guards
var (
	_ fleet.Topic = (*replica)(nil)
	_ publisher   = (*fleet.Publisher)(nil)
)
