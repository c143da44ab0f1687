// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/fleet"
)

// hub is a store and the instances that replicate over it. What happens when is up to the test.
type hub struct {
	records   map[string]stored // by topic and key
	instances []*node
}

type stored struct {
	fleet.Record
	until time.Time
}

// node is one instance: the topics of its sessions, what it has to push and what it has to apply.
type node struct {
	hub      *hub
	topics   map[string][]fleet.Topic
	pending  map[string]stored
	incoming []stored
	gap      bool // it has missed changes
	cut      bool // it does not reach the store
	sessions *memorySessions
}

type nodePublisher struct {
	node *node
	name string
}

func (p nodePublisher) Publish(key string, version uint64, value []byte, ttl time.Duration) {
	r := stored{fleet.Record{Topic: p.name, Key: key, Version: version, Value: value}, time.Now().Add(ttl)}
	id := p.name + "\x00" + key
	if was, ok := p.node.pending[id]; !ok || r.Compare(&was.Record) >= 0 {
		p.node.pending[id] = r
	}
}

func (p nodePublisher) Leave() { delete(p.node.topics, p.name) }

func newHub(t *testing.T, n int, scope string, r rules) *hub {
	h := &hub{records: make(map[string]stored)}
	for range n {
		i := &node{hub: h, topics: make(map[string][]fleet.Topic), pending: make(map[string]stored)}
		h.instances = append(h.instances, i)
		i.sessions = openMemory(network{i, func(name string, topic fleet.Topic) publisher {
			i.topics[name] = append(i.topics[name], topic)
			return nodePublisher{i, name}
		}}, scope, r)
		t.Cleanup(func() { _ = i.sessions.Close() })
	}
	return h
}

func (h *hub) merge(r stored) {
	id := r.Topic + "\x00" + r.Key
	was, ok := h.records[id]
	if !time.Now().Before(r.until) || ok && time.Now().Before(was.until) && r.Compare(&was.Record) <= 0 {
		return
	}
	h.records[id] = r
	for _, i := range h.instances {
		i.incoming = append(i.incoming, r) // also to the one that has pushed it
	}
}

// push pushes what waits, and apply applies one change, not always in order.
func (i *node) push() {
	if !i.cut {
		for _, id := range slices.Sorted(maps.Keys(i.pending)) {
			i.hub.merge(i.pending[id])
		}
		clear(i.pending)
	}
}

func (i *node) deliver(rng *rand.Rand) {
	if i.cut || len(i.incoming) == 0 {
		return
	}
	n := 0
	if rng != nil {
		n = rng.IntN(len(i.incoming))
	}
	r := i.incoming[n]
	i.incoming = slices.Delete(i.incoming, n, n+1)
	i.apply(r)
}

func (i *node) apply(r stored) {
	if r.TTL = time.Until(r.until); r.TTL <= 0 {
		return
	}
	for _, topic := range i.topics[r.Topic] {
		topic.Apply([]fleet.Record{r.Record})
	}
}

// resync is what a fleet does after a gap.
func (i *node) resync() {
	if i.cut {
		return
	}
	i.gap = false
	for _, id := range slices.Sorted(maps.Keys(i.hub.records)) {
		i.apply(i.hub.records[id])
	}
	for _, name := range slices.Sorted(maps.Keys(i.topics)) {
		for _, topic := range i.topics[name] {
			topic.All(func(r fleet.Record) bool {
				r.Topic = name
				i.hub.merge(stored{r, time.Now().Add(r.TTL)})
				return true
			})
		}
	}
}

// settle ends all faults, and lets everything arrive.
func (h *hub) settle() {
	for range 4 { // the secret, and what it makes known
		for _, i := range h.instances {
			i.cut = false
			i.push()
		}
		for _, i := range h.instances {
			if i.gap {
				i.resync()
			}
			for len(i.incoming) > 0 {
				i.deliver(nil)
			}
		}
	}
}

func (i *node) get(k Key) (Binding, bool) {
	b, ok, _ := i.sessions.Get(context.Background(), k)
	return b, ok
}

func (i *node) bind(k Key, id ID) Binding {
	now := now()
	b, _ := i.sessions.BindIfAbsent(context.Background(), k, Binding{Backend: id, Issued: now, Seen: now})
	return b
}

var hourly = rules{Lifetimes{Idle: time.Hour}, 1 << 20}

// Three instances that bind a session at a time agree on the first binding, whatever the order in
// which they hear of it.
func TestConcurrentBindingsEndWithTheFirst(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 2))
			h := newHub(t, 3, fmt.Sprint("web\nheader ", t.Name(), seed), hourly)
			h.settle() // they agree on the secret
			for k := range Key(20) {
				var first []ID // those of the same millisecond
				began := time.Now()
				for _, i := range rng.Perm(3) {
					id := ID(10 + i)
					if h.instances[i].bind(k, id).Backend != id {
						t.Fatal("an instance knows of a binding that nobody told it of")
					}
					if time.Since(began) < time.Millisecond {
						first = append(first, id)
					}
					time.Sleep(time.Duration(rng.IntN(3)) * time.Millisecond)
				}
				for n := range h.instances {
					h.instances[(n+int(k))%3].push()
				}
				for range 20 {
					h.instances[rng.IntN(3)].deliver(rng)
				}
				h.settle()
				ends := make(map[ID]int)
				for _, i := range h.instances {
					b, _ := i.get(k)
					ends[b.Backend]++
				}
				if len(ends) != 1 {
					t.Errorf("seed %d: the instances have %v", seed, ends)
				}
				for end := range ends {
					if !slices.Contains(first, end) {
						t.Errorf("seed %d: bound to %d, first were %v", seed, end, first)
					}
				}
			}
		})
	}
}

// Whatever instances bind, move and touch, while changes are late, out of order or lost and
// instances are cut off, they have the same sessions once all has arrived. Sessions expire
// everywhere, and are never bound to a backend that nobody has bound them to.
func TestTablesConverge(t *testing.T) {
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 3))
			r := rules{Lifetimes{Idle: time.Duration(20+rng.IntN(100)) * time.Second}, 1 << 20}
			if rng.IntN(2) == 0 {
				r.Absolute = 3 * r.Idle
			}
			h := newHub(t, 2+rng.IntN(3), fmt.Sprint("web\nquery ", t.Name(), seed), r)
			for range 400 {
				i, k, id := h.instances[rng.IntN(len(h.instances))], Key(rng.IntN(15)), ID(1+rng.IntN(4))
				switch op := rng.IntN(100); {
				case op < 20:
					i.bind(k, id)
				case op < 35:
					from, _ := i.get(k)
					to := Binding{Backend: id, Issued: now(), Seen: now()}
					if got, _ := i.sessions.Move(context.Background(), k, from.Backend, to); got.Backend != id {
						t.Fatalf("seed %d: moved to %d instead of %d", seed, got.Backend, id)
					}
				case op < 50:
					_ = i.sessions.Touch(context.Background(), k, now())
				case op < 65:
					i.push()
				case op < 85:
					i.deliver(rng)
				case op < 88 && len(i.incoming) > 0:
					i.incoming, i.gap = nil, true
				case op < 90:
					clear(i.pending) // more than it may keep
					i.gap = true
				case op < 93:
					i.cut = !i.cut
				case op < 94:
					i.resync()
				case op < 95:
					clear(h.records) // the store has lost everything
					for _, i := range h.instances {
						i.gap = true
					}
				default:
					time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
				}
			}
			h.settle()
			for range 2 { // sessions from before the instances agreed on a secret are found when they are used
				for _, i := range h.instances {
					for k := range Key(15) {
						i.get(k)
					}
				}
				h.settle()
			}
			for k := range Key(15) {
				want, bound := h.instances[0].get(k)
				for n, i := range h.instances[1:] {
					if got, ok := i.get(k); ok != bound || got != want {
						t.Errorf("seed %d: session %d is %v %+v on instance 0, %v %+v on %d", seed, k, bound, want, ok, got, n+1)
					}
				}
				if want.Backend > 4 || bound && want.Backend == 0 {
					t.Errorf("seed %d: session %d is bound to %d", seed, k, want.Backend)
				}
			}
			time.Sleep(r.Idle*2 + 2*time.Second)
			for n, i := range h.instances {
				for id := range ID(5) {
					if got := i.sessions.Count(id); got != 0 {
						t.Errorf("seed %d: instance %d counts %d sessions of %d that are over", seed, n, got, id)
					}
				}
			}
		})
	}
}

// The keys in the store are hashes with a secret, and instances agree on it whoever was there
// first. Sessions from before that are found.
func TestKeysInTheStoreAreKeyedHashes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, 1, "web\nclient_ip", hourly)
		old := h.instances[0]
		old.bind(1, 7)
		old.push()
		time.Sleep(time.Second)
		lonely := newHub(t, 1, "web\nclient_ip", hourly).instances[0] // before it reaches the store
		lonely.bind(2, 8)
		lonely.hub = h
		h.instances = append(h.instances, lonely)
		lonely.resync()
		h.settle()
		lonely.get(2)
		h.settle()
		for n, i := range h.instances {
			for k, id := range map[Key]ID{1: 7, 2: 8} {
				if b, ok := i.get(k); !ok || b.Backend != id {
					t.Errorf("instance %d: session %d is %v %+v", n, k, ok, b)
				}
			}
		}
		for id, r := range h.records {
			for k := range Key(3) {
				var plain [8]byte
				binary.BigEndian.PutUint64(plain[:], uint64(k))
				if strings.HasPrefix(r.Topic, "sessions/") && r.Key == string(plain[:]) {
					t.Errorf("%q is a key that is not hashed", id)
				}
			}
		}
		if old.sessions.replica.keys.current.Load().version != lonely.sessions.replica.keys.current.Load().version {
			t.Error("the instances have different secrets")
		}
	})
}

// The sessions of a pool without a name, whose name other instances may use for another pool, stay
// where they are.
func TestUnnamedScopesAreNotReplicated(t *testing.T) {
	h := newHub(t, 2, scope{name: "inline-a:1"}.String()+"\nclient_ip", hourly)
	h.instances[0].bind(1, 7)
	h.settle()
	if len(h.records) > 0 {
		t.Errorf("the store has %d records", len(h.records))
	}
	if _, ok := h.instances[1].get(1); ok {
		t.Error("the other instance has the session")
	}
	if _, ok := h.instances[0].get(1); !ok {
		t.Error("the instance itself has lost the session")
	}
}

// A session that was bound to a backend which another one has replaced begins anew, on the instance that it
// comes to and on the others, which may have forgotten the old one or not. Nothing brings the old one back:
// not the store, nor an instance that was cut off.
func TestForgottenSessionsStayForgotten(t *testing.T) {
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 0))
			h := newHub(t, 3, fmt.Sprint("web\nheader ", t.Name(), seed), hourly)
			h.settle()
			a, late := h.instances[rng.IntN(3)], h.instances[rng.IntN(3)]
			a.bind(1, 7)
			h.settle()
			late.cut = rng.IntN(2) == 0
			for _, i := range h.instances {
				if i == a || i != late || rng.IntN(2) == 0 {
					_ = i.sessions.Forget(t.Context(), 7)
				}
			}
			if _, ok := a.get(1); ok || a.sessions.Count(7) != 0 || *a.sessions.Stats().Entries != 0 {
				t.Errorf("seed %d: the session is there", seed)
			}
			time.Sleep(time.Second)
			a.gap = true // a resync, from a store that still has the old one
			h.settle()
			if b, ok := a.get(1); ok {
				t.Errorf("seed %d: a resync has brought the session at %d back", seed, b.Backend)
			}
			a.bind(1, 8)
			h.settle()
			late.cut, a.gap, late.gap = false, true, true
			h.settle()
			for n, i := range h.instances {
				if b, ok := i.get(1); !ok || b.Backend != 8 {
					t.Errorf("seed %d: on instance %d the session is at %d, %v; want 8", seed, n, b.Backend, ok)
				}
			}
		})
	}
}

// After a resync, whose order is that of the store, all that has expired is counted no longer.
func TestCountsAfterAResync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(t, 2, "web\nheader "+t.Name(), rules{Lifetimes{Idle: 100 * time.Second}, 1 << 20})
		h.settle()
		a, b := h.instances[0], h.instances[1]
		b.cut, b.gap = true, true
		const sessions = 2000
		for k := range Key(sessions) {
			a.bind(k, 1)
			if k%40 == 0 {
				time.Sleep(time.Second) // 50 seconds in all
			}
		}
		h.settle()
		if got := b.sessions.Count(1); got != sessions {
			t.Fatalf("%d sessions, want %d", got, sessions)
		}
		for range 12 {
			time.Sleep(5 * time.Second)
			if x, y := a.sessions.Count(1), b.sessions.Count(1); x != y {
				t.Errorf("%d sessions where they were bound, %d after a resync", x, y)
			}
		}
		time.Sleep(time.Minute)
		if got := b.sessions.Count(1); got != 0 {
			t.Errorf("%d sessions are left", got)
		}
	})
}

// Topics are names of the store, and differ between scopes.
func TestTopics(t *testing.T) {
	long := "web\nheader " + strings.Repeat("x", fleet.MaxName)
	seen := make(map[string]bool)
	for _, scope := range []string{"web\nclient_ip", "web\nheader x", long, long + "x"} {
		topic := topicOf(scope)
		if len(topic) > fleet.MaxName || strings.Contains(topic, "\n") || seen[topic] {
			t.Errorf("the topic of %.20q is %q", scope, topic)
		}
		seen[topic] = true
	}
}

// discard is a fleet that keeps the latest record, so that nothing is optimized away.
type discard struct{ latest fleet.Record }

func (d *discard) Publish(key string, version uint64, value []byte, ttl time.Duration) {
	d.latest = fleet.Record{Key: key, Version: version, Value: value, TTL: ttl}
}

func (*discard) Leave() {}

// BenchmarkSessions is what an operation costs, without a fleet and with one.
func BenchmarkSessions(b *testing.B) {
	const sessions = 100_000
	keys := make([]Key, sessions)
	for n := range keys {
		keys[n] = hashed(n)
	}
	ctx := context.Background()
	for _, fleets := range []bool{false, true} {
		n := network{}
		if fleets {
			n = network{new(int), func(string, fleet.Topic) publisher { return new(discard) }}
		}
		name := map[bool]string{false: "alone", true: "fleet"}[fleets]
		open := func(scope string) *memorySessions {
			return openMemory(n, scope+b.Name()+"\nclient_ip", rules{Lifetimes{Idle: time.Hour}, sessions})
		}
		s := open("filled")
		at := now()
		for _, k := range keys {
			_, _ = s.BindIfAbsent(ctx, k, Binding{Backend: 1, Issued: at, Seen: at})
		}
		b.Run("get/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				_, _, _ = s.Get(ctx, keys[n%sessions])
			}
		})
		b.Run("touch/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				_ = s.Touch(ctx, keys[n%sessions], at+1+int64(n/sessions))
			}
		})
		b.Run("bind/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ { // and evict
				_, _ = s.BindIfAbsent(ctx, Key(mixed(n)), Binding{Backend: 1, Issued: at, Seen: at})
			}
		})
		_ = s.Close()
	}
}

func mixed(n int) uint64 { return uint64(n) * 0x9e3779b97f4a7c15 }
