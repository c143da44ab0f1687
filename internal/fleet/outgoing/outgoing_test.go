// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package outgoing

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/fleet/record"
)

func rec(key string, version uint64) *record.Record {
	return &record.Record{Topic: "t", Key: key, Version: version, TTL: time.Minute}
}

// Of several changes of a key only the latest is pushed, also after a failed push of an earlier
// one, and no expired one.
func TestPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q Pending
		for version := range uint64(5) {
			if first, overflow := q.Add(rec("a", version)); first != (version == 0) || overflow {
				t.Errorf("first %v, overflow %v", first, overflow)
			}
		}
		q.Add(rec("a", 1))
		began := time.Now()
		time.Sleep(time.Second)
		short := rec("short", 1)
		short.TTL = time.Second
		q.Add(short)
		taken := q.Take()
		if got := taken.Records(); len(got) != 2 {
			t.Errorf("%+v", got)
		}
		q.Add(rec("a", 6))
		q.Add(rec("b", 1))
		if s := q.Backlog(); s.Changes != 4 || !s.Oldest.Equal(began) {
			t.Errorf("%+v", s)
		}
		time.Sleep(time.Second)
		q.Done(taken)
		got := q.Take().Records()
		versions := make(map[string]uint64)
		for _, r := range got {
			versions[r.Key] = r.Version
			if r.TTL > time.Minute-time.Second {
				t.Errorf("%q expires in %v, a second after it was published", r.Key, r.TTL)
			}
		}
		if len(got) != 2 || versions["a"] != 6 || versions["b"] != 1 {
			t.Errorf("%v", versions)
		}
		q.Done(nil)
		if s := q.Backlog(); !q.Empty() || s.Changes != 0 || !s.Oldest.IsZero() {
			t.Errorf("%+v", s)
		}
	})
}

// When there are too many changes, all are dropped, and further ones until a resync begins.
func TestOverflow(t *testing.T) {
	var q Pending
	for n := range maxPending {
		if _, overflow := q.Add(rec(fmt.Sprint(n), 1)); overflow {
			t.Fatalf("overflow with %d", n)
		}
	}
	if _, overflow := q.Add(rec("one more", 1)); !overflow || !q.Empty() {
		t.Error("no overflow")
	}
	if _, overflow := q.Add(rec("a", 1)); overflow || !q.Empty() {
		t.Error("a change waits before the resync")
	}
	q.Accept()
	if first, _ := q.Add(rec("a", 1)); !first || q.Backlog().Overflows != 1 {
		t.Errorf("%+v", q.Backlog())
	}
}

// A backfill pushes each record that the store lacks once, also when one search does not find all,
// and no record that the store gets in the meantime.
func TestBackfill(t *testing.T) {
	const records = 120_000
	b := NewBackfill(func(yield func(record.Record) bool) {
		for n := range records {
			if !yield(*rec(fmt.Sprint(n), uint64(n))) {
				return
			}
		}
	})
	store := make(map[string]bool)
	has := func(from, to int) {
		for n := from; n < to; n++ {
			b.Stored([]record.Record{*rec(fmt.Sprint(n), uint64(n)), *rec(fmt.Sprint(n+1000), 7)})
			store[fmt.Sprint(n)] = true
		}
	}
	has(0, 10_000)
	pushed, failed := 0, false
	for {
		batch := b.Batch()
		if len(batch) == 0 {
			break
		}
		if pushed += len(batch); pushed == 10_000 && !failed {
			failed = true
			b.Again() // as after a failed push: the next search finds this batch again
			pushed -= len(batch)
			has(60_000, 70_000)
			continue
		}
		for _, r := range batch {
			if store[r.Key] {
				t.Fatalf("record %s is pushed although the store has it", r.Key)
			}
			store[r.Key] = true
		}
		b.Stored(batch)
	}
	if len(store) != records || pushed != records-20_000 {
		t.Errorf("%d records in the store, %d pushed", len(store), pushed)
	}
}
