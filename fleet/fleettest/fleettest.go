// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleettest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/conformance"
	"github.com/ballast-lb/caddy-ballast/internal/fleet"
)

// timeout is how long the suite waits for an expected state.
const timeout = 10 * time.Second

// Run tests that records merge in any order, that changes reach the other instances and none is
// missing without a gap, that records and instances expire, that calls return when their context
// ends, and that no goroutine leaks. open creates an empty store, and returns a function that opens
// the connection of another instance. A test takes about as long as the store needs to propagate
// changes. For a store in virtual time, call RunTest in a testing/synctest bubble for each name of
// [Tests].
func Run(t *testing.T, open func(t *testing.T) func() fleet.Conn) {
	leaks := conformance.Goroutines(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { RunTest(t, test.name, open(t)) })
	}
	leaks(timeout)
}

// RunTest runs one test of the suite.
func RunTest(t *testing.T, name string, open func() fleet.Conn) {
	for _, test := range tests {
		if test.name == name {
			s := &suite{T: t, open: open}
			defer s.close()
			test.run(s)
			return
		}
	}
	t.Fatalf("the suite has no test %q", name)
}

// Tests returns the names of the tests, for [RunTest].
func Tests() (names []string) {
	for _, test := range tests {
		names = append(names, test.name)
	}
	return names
}

var tests = []struct {
	name string
	run  func(*suite)
}{
	{"records are stored unchanged", unchanged}, {"the greater record wins", wins}, {"an expired record counts as absent", expires},
	{"a later expiry is a change", extends}, {"changes in order", ordered}, {"a change ends the wait", wakes},
	{"Changes waits", waits}, {"a zero cursor is a gap", zeroCursor}, {"no change is missing", complete},
	{"instances", instances}, {"a join or leave is reported", reported}, {"an instance without beats dies", dies},
	{"acknowledged generations", acknowledges}, {"a canceled call", canceled},
}

// suite is one test with its connections.
type suite struct {
	*testing.T
	open  func() fleet.Conn
	conns []fleet.Conn
}

func (s *suite) connect() fleet.Conn {
	c := s.open()
	s.conns = append(s.conns, c)
	return c
}

func (s *suite) close() {
	for _, c := range s.conns {
		if err := c.Close(); err != nil {
			s.Errorf("Close: %v", err)
		}
	}
}

// within returns the context of a call.
func (s *suite) within() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	s.Cleanup(cancel)
	return ctx
}

func rec(key string, version uint64, value string, ttl time.Duration) fleet.Record {
	return fleet.Record{Topic: "suite/records", Key: key, Version: version, Value: []byte(value), TTL: ttl}
}

func (s *suite) push(c fleet.Conn, records ...fleet.Record) {
	s.Helper()
	if err := c.Push(s.within(), fmt.Sprintf("pusher-%p", c), records); err != nil {
		s.Fatalf("Push: %v", err)
	}
}

// view is the state of a reader: all records, and the changes after them.
type view struct {
	*suite
	conn    fleet.Conn
	cursor  fleet.Cursor
	records map[string]fleet.Record
	joined  bool // instances have joined or left
}

// read returns the view of a new connection.
func (s *suite) read() *view {
	s.Helper()
	v := &view{suite: s, conn: s.connect()}
	v.all()
	return v
}

func (v *view) all() {
	v.Helper()
	v.records = make(map[string]fleet.Record)
	cursor, err := v.conn.All(v.within(), v.merge)
	if err != nil {
		v.Fatalf("All: %v", err)
	}
	v.cursor = cursor
}

func (v *view) merge(records []fleet.Record) {
	for _, r := range records {
		if !r.Valid() {
			v.Errorf("the store has returned an invalid record: %q of %q, %d bytes, TTL %v", r.Key, r.Topic, len(r.Value), r.TTL)
		}
		id := r.Topic + "\n" + r.Key
		if old, ok := v.records[id]; !ok || r.Compare(&old) > 0 || r.Compare(&old) == 0 && r.TTL > old.TTL {
			v.records[id] = r
		}
	}
}

// next merges the next changes.
func (v *view) next(wait time.Duration) (n int) {
	v.Helper()
	changes, err := v.conn.Changes(v.within(), v.cursor, wait)
	if err != nil {
		v.Fatalf("Changes: %v", err)
	}
	v.cursor = changes.Next
	v.joined = v.joined || changes.Instances
	v.merge(changes.Records)
	return len(changes.Records)
}

// until reads changes until a condition holds.
func (v *view) until(what string, wanted func() bool) {
	v.Helper()
	for deadline := time.Now().Add(timeout); !wanted(); {
		if time.Now().After(deadline) {
			v.Fatalf("after %v there is no %s: %s", timeout, what, v)
		}
		v.next(100 * time.Millisecond)
	}
}

// value returns the value of a key, or "" without a record.
func (v *view) value(key string) string { return string(v.records["suite/records\n"+key].Value) }

func (v *view) String() string {
	var all []string
	for id, r := range v.records {
		all = append(all, fmt.Sprintf("%.40q=%d:%.40q", id, r.Version, r.Value))
	}
	return strings.Join(all, " ")
}

func unchanged(s *suite) {
	c := s.connect()
	long := strings.Repeat("k", fleet.MaxName)
	want := []fleet.Record{
		rec("", 0, "", time.Minute), rec("a", 1, "x", time.Second*100), rec("\x00\xff\n|:{}", 1<<64-1, "\x00\xff\r\n", time.Hour),
		rec(long, 1<<63, strings.Repeat("v", fleet.MaxValue), fleet.MaxTTL),
		{Topic: long, Key: "a", Version: 7, Value: []byte("other topic"), TTL: time.Minute},
	}
	s.push(c, want...)
	many := make([]fleet.Record, fleet.MaxBatch)
	for i := range many {
		many[i] = rec(fmt.Sprint("many-", i), uint64(i), fmt.Sprint("value ", i), time.Minute)
	}
	s.push(c, many...)
	want = append(want, many...)
	s.push(c) // no records
	v := s.read()
	v.until("further record", func() bool { return len(v.records) >= len(want) })
	if len(v.records) != len(want) {
		s.Errorf("%d records, want %d", len(v.records), len(want))
	}
	for _, w := range want {
		got, ok := v.records[w.Topic+"\n"+w.Key]
		switch {
		case !ok:
			s.Errorf("no record %.40q of %.40q", w.Key, w.Topic)
		case got.Version != w.Version || string(got.Value) != string(w.Value):
			s.Errorf("record %.40q of %.40q has version %d and %d bytes, want %d and %d", w.Key, w.Topic, got.Version, len(got.Value), w.Version, len(w.Value))
		case got.TTL > w.TTL || got.TTL < w.TTL-w.TTL/100-timeout:
			s.Errorf("record %.40q of %.40q has the TTL %v, pushed with %v", w.Key, w.Topic, got.TTL, w.TTL)
		}
	}
}

func wins(s *suite) {
	pushers := []fleet.Conn{s.connect(), s.connect()}
	early := s.read()
	const long = time.Minute
	candidates := []fleet.Record{
		rec("k", 1, "z", long), rec("k", 2, "a", long), rec("k", 2, "b", long), rec("k", 2, "b\x00", long), rec("k", 1<<40, "", long),
		rec("k", 1<<63, "m", long), rec("k", 1<<63+1, "l", long), rec("k", 1<<63+1, "lm", long),
	}
	bests := make(map[string]fleet.Record)
	for round := range 20 {
		key := fmt.Sprint("k", round)
		order := rand.Perm(len(candidates))[:1+rand.IntN(len(candidates))]
		best := candidates[order[0]]
		for _, i := range order {
			r := candidates[i]
			r.Key = key
			if r.Compare(&best) > 0 {
				best = r
			}
			s.push(pushers[rand.IntN(2)], r)
		}
		bests[key] = best
	}
	for name, v := range map[string]*view{"early": early, "late": s.read()} {
		for key, best := range bests {
			v.until("record that wins, of the "+name+" reader", func() bool {
				got, ok := v.records["suite/records\n"+key]
				return ok && got.Compare(&best) == 0
			})
		}
	}
}

func expires(s *suite) {
	c := s.connect()
	s.push(c, rec("short", 9, "old", time.Second), rec("long", 1, "x", time.Minute))
	early := s.read()
	early.until("record", func() bool { return early.value("short") == "old" })
	for deadline := time.Now().Add(timeout); s.read().value("short") != ""; pause() {
		if time.Now().After(deadline) {
			s.Fatal("a record does not expire")
		}
	}
	pause() // stores may round TTLs
	s.push(c, rec("short", 1, "new", time.Minute))
	v := s.read()
	v.until("record in place of one that has expired", func() bool { return v.value("short") == "new" && v.value("long") == "x" })
}

// pause waits between two checks.
func pause() { <-time.After(50 * time.Millisecond) }

func extends(s *suite) {
	c := s.connect()
	s.push(c, rec("k", 1, "v", 20*time.Second))
	v := s.read()
	s.push(c, rec("k", 1, "v", 10*time.Second), rec("k", 1, "v", time.Hour))
	v.until("longer TTL", func() bool { return v.records["suite/records\nk"].TTL > time.Minute })
	s.push(c, rec("k", 1, "v", time.Second))
	if got := s.read().records["suite/records\nk"].TTL; got < time.Minute {
		s.Errorf("the TTL is %v after a push of a shorter one", got)
	}
}

func ordered(s *suite) {
	v, c := s.read(), s.connect()
	last := make(map[string]uint64)
	for version := range uint64(100) {
		s.push(c, rec("k", version+1, "v", time.Minute))
	}
	for deadline := time.Now().Add(timeout); last["k"] < 100; {
		changes, err := v.conn.Changes(s.within(), v.cursor, 100*time.Millisecond)
		if err != nil || time.Now().After(deadline) {
			s.Fatalf("version %d: %v", last["k"], err)
		}
		v.cursor = changes.Next
		for _, r := range changes.Records {
			if r.Version < last[r.Key] {
				s.Errorf("version %d after %d", r.Version, last[r.Key])
			}
			last[r.Key] = r.Version
		}
	}
}

func wakes(s *suite) {
	v, c := s.read(), s.connect()
	began := time.Now()
	done := make(chan struct{})
	go func() {
		defer close(done)
		<-time.After(200 * time.Millisecond)
		if err := c.Push(s.within(), "pusher", []fleet.Record{rec("k", 1, "v", time.Hour)}); err != nil {
			s.Errorf("Push: %v", err)
		}
	}()
	for v.value("k") == "" && time.Since(began) < timeout {
		v.next(timeout / 2)
	}
	<-done
	if v.value("k") != "v" {
		s.Errorf("no change within %v", timeout)
	}
}

func waits(s *suite) {
	v := s.read()
	v.next(0)
	began := time.Now()
	n := v.next(300 * time.Millisecond)
	if took := time.Since(began); n > 0 || took > 300*time.Millisecond+timeout/2 {
		s.Errorf("%d changes after %v, want none after about 300ms", n, took)
	}
}

func zeroCursor(s *suite) {
	c := s.connect()
	if _, err := c.Changes(s.within(), "", time.Millisecond); err != fleet.ErrGap {
		s.Errorf("Changes with a zero cursor: %v, want fleet.ErrGap", err)
	}
}

// complete pushes many records from several connections concurrently, and tests that readers that
// begin at any time end with the same records.
func complete(s *suite) {
	pushers := []fleet.Conn{s.connect(), s.connect(), s.connect()}
	early := s.read()
	done := make(chan map[string]fleet.Record, len(pushers))
	for n, c := range pushers {
		go func() {
			own := &view{suite: s, records: make(map[string]fleet.Record)}
			rng := rand.New(rand.NewPCG(1, uint64(n)))
			for range 30 {
				batch := make([]fleet.Record, 1+rng.IntN(20))
				for i := range batch {
					batch[i] = rec(fmt.Sprint("k", rng.IntN(40)), rng.Uint64N(1000), fmt.Sprint(rng.IntN(10)), time.Hour)
				}
				if err := c.Push(s.within(), fmt.Sprint("pusher-", n), batch); err != nil {
					s.Errorf("Push: %v", err)
				}
				own.merge(batch)
			}
			done <- own.records
		}()
	}
	early.next(10 * time.Millisecond)
	late := s.read()
	want := &view{suite: s, records: make(map[string]fleet.Record)}
	for range pushers {
		for _, r := range <-done {
			want.merge([]fleet.Record{r})
		}
	}
	for name, v := range map[string]*view{"early": early, "late": late, "new": s.read()} {
		v.until("end of the changes for the "+name+" reader", func() bool {
			for id, w := range want.records {
				if got, ok := v.records[id]; !ok || got.Compare(&w) != 0 {
					return false
				}
			}
			return len(v.records) == len(want.records)
		})
	}
}
