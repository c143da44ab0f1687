// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/ballast-lb/caddy-ballast/fleet"
)

// call returns a context for a call that should end at once.
func call(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	t.Cleanup(cancel)
	return ctx
}

// push pushes records, again after an error: the machine may be too busy for the timeout.
func push(t testing.TB, c fleet.Conn, records ...fleet.Record) {
	t.Helper()
	var err error
	eventually(t, "records are pushed", func() bool {
		if err = c.Push(call(t), fmt.Sprintf("%p", c), records); err != nil {
			t.Log(err)
		}
		return err == nil
	})
}

// all returns all records by field.
func all(t testing.TB, c fleet.Conn) (records map[string]fleet.Record, after fleet.Cursor) {
	t.Helper()
	eventually(t, "all records are read", func() (ok bool) {
		var err error
		records = make(map[string]fleet.Record)
		after, err = c.All(call(t), func(page []fleet.Record) {
			for _, r := range page {
				records[encodeField(r.Topic, r.Key)] = r
			}
		})
		if err != nil {
			t.Log(err)
		}
		return err == nil
	})
	return records, after
}

// beat records that an instance lives.
func beat(t testing.TB, c fleet.Conn, id string, known uint64) (b fleet.Beat) {
	t.Helper()
	eventually(t, "a beat is answered", func() (ok bool) {
		var err error
		if b, err = c.Beat(call(t), fleet.Instance{ID: id, Name: id}, time.Minute, known); err != nil {
			t.Log(err)
		}
		return err == nil
	})
	return b
}

func record(key string, version uint64, value string, ttl time.Duration) fleet.Record {
	return fleet.Record{Topic: "test", Key: key, Version: version, Value: []byte(value), TTL: ttl}
}

// busyTimeout is what the tests of this file give a command, since they claim what the scripts do,
// and the machine may be busy.
const busyTimeout = "timeout 5s"

// Whatever the order of arrival, and whoever pushes, the record that wins by Compare is kept: for
// versions and values that no number and no text of Lua holds.
func TestRedisKeepsTheWinner(t *testing.T) {
	s := startServer(t)
	tokens := fmt.Sprintf("redis %s {\n%s\n}", s.address, busyTimeout)
	conns := []*conn{open(t, tokens), open(t, tokens)}
	rng := rand.New(rand.NewPCG(1, 2))
	versions := []uint64{0, 1, 1<<32 - 1, 1 << 32, 1<<53 + 1, 1<<53 + 2, 1<<63 - 1, 1 << 63, 1<<64 - 2, 1<<64 - 1}
	values := []string{"", "\x00", "\x00\x00", "a", "a\x00", "B", "\xff", "\x7f", "ä", strings.Repeat("x", 64), strings.Repeat("x", 64) + "y", strings.Repeat("x", 200) + "a", strings.Repeat("x", 200) + "\xfe"}
	want := make(map[string]fleet.Record)
	for range 200 {
		var batch []fleet.Record
		for range 1 + rng.IntN(20) {
			r := record(fmt.Sprint(rng.IntN(40)), versions[rng.IntN(len(versions))], values[rng.IntN(len(values))], time.Hour)
			field := encodeField(r.Topic, r.Key)
			if old, ok := want[field]; !ok || r.Compare(&old) > 0 {
				want[field] = r
			}
			batch = append(batch, r)
		}
		push(t, conns[rng.IntN(2)], batch...)
	}
	got, _ := all(t, conns[0])
	if len(got) != len(want) {
		t.Errorf("%d records, want %d", len(got), len(want))
	}
	for field, w := range want {
		g := got[field]
		if g.Compare(&w) != 0 {
			t.Errorf("%s: version %x and value %q, want %x and %q", field, g.Version, g.Value, w.Version, w.Value)
		}
	}
}

// A record that changes nothing is not told. One that only lives longer is kept, and told if it is
// much.
func TestRedisTellsOnlyChanges(t *testing.T) {
	s := startServer(t)
	c := open(t, fmt.Sprintf("redis %s {\n%s\n}", s.address, busyTimeout))
	entries := func() int { return s.int("XLEN", c.keys[changesKey]) }
	push(t, c, record("a", 5, "x", time.Hour))
	told := entries()
	push(t, c, record("a", 5, "x", time.Hour), record("a", 4, "z", 2*time.Hour), record("a", 5, "w", 2*time.Hour))
	if entries() != told {
		t.Error("records that change nothing are told")
	}
	push(t, c, record("a", 5, "x", 3*time.Hour))
	if entries() != told+1 {
		t.Error("a much longer life is not told")
	}
	records, _ := all(t, c)
	if ttl := records[encodeField("test", "a")].TTL; ttl <= 2*time.Hour {
		t.Errorf("the record lives for %v", ttl)
	}
	push(t, c, record("a", 5, "x", time.Minute))
	if records, _ = all(t, c); records[encodeField("test", "a")].TTL <= 2*time.Hour {
		t.Error("the same record with a shorter life ends the longer one")
	}
}

// An expired record counts as none, and is removed though nobody asks for it.
func TestRedisForgetsExpiredRecords(t *testing.T) {
	s := startServer(t)
	c := open(t, fmt.Sprintf("redis %s {\n%s\n}", s.address, busyTimeout))
	var batch []fleet.Record
	for i := range 2000 {
		batch = append(batch, record(fmt.Sprint("short ", i), 9, "x", 50*time.Millisecond))
	}
	push(t, c, batch...)
	push(t, c, record("stays", 1, "x", time.Hour))
	eventually(t, "the records expire", func() bool { records, _ := all(t, c); return len(records) == 1 })
	push(t, c, record("short 0", 1, "older", time.Hour))
	if records, _ := all(t, c); string(records[encodeField("test", "short 0")].Value) != "older" {
		t.Error("an expired record wins over an older one that lives")
	}
	eventually(t, "beats remove expired records", func() bool {
		beat(t, c, "one", 0)
		return s.int("HLEN", c.keys[0]) < 100
	})
}

// Redis keeps about max_records records, and of a few random ones removes that which ends first.
func TestRedisIsBounded(t *testing.T) {
	s := startServer(t)
	c := open(t, fmt.Sprintf("redis %s {\n%s\nmax_records 1000\n}", s.address, busyTimeout))
	const lasting = 100
	for i := range lasting {
		push(t, c, record(fmt.Sprint("lasting ", i), 1, "x", 100*time.Hour))
	}
	var batch []fleet.Record
	for i := range 5000 {
		batch = append(batch, record(fmt.Sprint("session ", i), 1, "x", time.Hour))
	}
	push(t, c, batch...)
	if n := s.int("HLEN", c.keys[0]); n > 1000 || n < 900 {
		t.Errorf("Redis keeps %d fields of 1000", n)
	}
	records, _ := all(t, c)
	kept := 0
	for i := range lasting {
		if _, ok := records[encodeField("test", fmt.Sprint("lasting ", i))]; ok {
			kept++
		}
	}
	// With a tenth of the records lasting, all 8 of a sample are with a chance of 1 in 10^8.
	if kept < lasting {
		t.Errorf("%d of %d lasting records are kept", kept, lasting)
	}
}

// The stream takes a bounded amount of memory, and a reader that is too slow is told so.
func TestRedisStreamIsBounded(t *testing.T) {
	s := startServer(t)
	c := open(t, fmt.Sprintf("redis %s {\n%s\n}", s.address, busyTimeout))
	push(t, c, record("first", 1, "x", time.Hour))
	_, start := all(t, c)
	value := strings.Repeat("v", 30<<10)
	const rounds, batch = 80, 30 // 74 MB
	for i := range rounds {
		var records []fleet.Record
		for k := range batch {
			records = append(records, record(fmt.Sprint(k), uint64(i), value, time.Hour))
		}
		push(t, c, records...)
	}
	// The stream takes 32 MiB and at least 50 entries, of 0.9 MB here.
	if n := s.int("MEMORY", "USAGE", c.keys[changesKey], "SAMPLES", 0); n > 60<<20 {
		t.Errorf("the stream takes %d MB", n>>20)
	}
	if _, err := c.Changes(call(t), start, 0); !errors.Is(err, fleet.ErrGap) {
		t.Errorf("a reader that was too slow gets %v", err)
	}
}

// A fleet that is gone leaves nothing behind.
func TestRedisKeysExpire(t *testing.T) {
	s := startServer(t)
	c := open(t, fmt.Sprintf("redis %s {\n%s\n}", s.address, busyTimeout))
	beat(t, c, "one", 0)
	push(t, c, record("a", 1, "x", 48*time.Hour))
	for i, key := range c.keys {
		least, ttl := 3500, s.int("TTL", key)
		if i == 0 {
			least = 48*3600 - 100 // as long as its records
		}
		if ttl < least || ttl > 50*3600 {
			t.Errorf("%s expires in %d s", key, ttl)
		}
	}
	keys, _ := s.do("KEYS", "*").([]any)
	if len(keys) != len(c.keys) {
		t.Errorf("the keys are %q, want %q", keys, c.keys)
	}
}

// A store that has lost everything says so, never uses a generation again, and has no reader
// believe that it has seen all.
func TestRedisLosesEverything(t *testing.T) {
	s := startServer(t)
	c := open(t, fmt.Sprintf("redis %s {\n%s\n}", s.address, busyTimeout))
	first := beat(t, c, "one", 0)
	push(t, c, record("a", 1, "x", time.Hour))
	_, start := all(t, c)
	s.do("FLUSHALL")
	second := beat(t, c, "one", first.Generation)
	if second.Incarnation == first.Incarnation || second.Generation <= first.Generation || len(second.Instances) != 1 {
		t.Errorf("the store was %+v, and is %+v", first, second)
	}
	push(t, c, record("b", 1, "x", time.Hour))
	if _, err := c.Changes(call(t), start, time.Second); !errors.Is(err, fleet.ErrGap) {
		t.Errorf("a reader of before gets %v", err)
	}
	s.kill()
	s.start()
	third := beat(t, c, "one", second.Generation)
	if third.Incarnation == second.Incarnation || third.Generation <= second.Generation {
		t.Errorf("after a restart the store is %+v, and was %+v", third, second)
	}
}

// Only the records are lost, as when Redis evicts that key: the store says so.
func TestRedisLosesAKey(t *testing.T) {
	s := startServer(t)
	c := open(t, fmt.Sprintf("redis %s {\n%s\n}", s.address, busyTimeout))
	first := beat(t, c, "one", 0)
	push(t, c, record("a", 1, "x", time.Hour))
	s.do("DEL", c.keys[0])
	if second := beat(t, c, "one", first.Generation); second.Incarnation == first.Incarnation || second.Generation <= first.Generation {
		t.Errorf("the store was %+v, and is %+v", first, second)
	}
	_, start := all(t, c)
	reader := open(t, fmt.Sprintf("redis %s {\n%s\n}", s.address, busyTimeout))
	push(t, c, record("b", 1, "x", time.Hour))
	if changes, err := reader.Changes(call(t), start, time.Second); err != nil || len(changes.Records) != 1 {
		t.Errorf("a reader of the new records gets %+v, %v", changes, err)
	}
	s.do("DEL", c.keys[changesKey])
	_, start = all(t, c)
	push(t, c, record("c", 1, "x", time.Hour))
	if changes, err := reader.Changes(call(t), start, time.Second); err != nil || len(changes.Records) != 1 {
		t.Errorf("a reader after the loss of the stream gets %+v, %v", changes, err)
	}
}

// An instance knows its own changes, and gets only those of others.
func TestRedisOwnChangesAreLeftOut(t *testing.T) {
	s := startServer(t)
	tokens := fmt.Sprintf("redis %s {\n%s\n}", s.address, busyTimeout)
	one, two := open(t, tokens), open(t, tokens)
	_, start := all(t, one)
	push(t, one, record("a", 1, "x", time.Hour))
	push(t, two, record("b", 1, "x", time.Hour))
	for c, want := range map[*conn]string{one: "b", two: "a"} {
		changes, err := c.Changes(call(t), start, time.Second)
		if err != nil || len(changes.Records) != 1 || changes.Records[0].Key != want {
			t.Errorf("got %+v, %v, want only %s", changes, err, want)
		}
	}
}

// Fleets with different prefixes have nothing in common.
func TestRedisPrefixesAreApart(t *testing.T) {
	s := startServer(t)
	a := open(t, fmt.Sprintf("redis %s {\n%s\nprefix a\n}", s.address, busyTimeout))
	b := open(t, fmt.Sprintf("redis %s {\n%s\nprefix b\n}", s.address, busyTimeout))
	push(t, a, record("x", 1, "x", time.Hour))
	beat(t, a, "one", 0)
	if records, _ := all(t, b); len(records) != 0 {
		t.Errorf("the other fleet has %v", records)
	}
	if got := beat(t, b, "two", 0); len(got.Instances) != 1 {
		t.Errorf("the other fleet has %v", got.Instances)
	}
}

// A call that is called off ends, though Redis would answer much later.
func TestRedisCallsEndWithTheirContext(t *testing.T) {
	s := startServer(t)
	tokens := fmt.Sprintf("redis %s {\n%s\n}", s.address, busyTimeout)
	c, other := open(t, tokens), open(t, tokens)
	push(t, c, record("a", 1, "x", time.Hour))
	_, start := all(t, c)
	for range 100 {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() {
			_, err := c.Changes(ctx, start, time.Hour)
			done <- err
		}()
		if rand.IntN(4) == 0 {
			eventually(t, "the reader waits", func() bool { return s.info("clients", "blocked_clients") == "1" })
		}
		cancel()
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("the reader gets %v", err)
			}
		case <-time.After(soon):
			t.Fatal("a call goes on though its context has ended")
		}
	}
	push(t, other, record("b", 1, "x", time.Hour))
	eventually(t, "the next reader gets the change", func() bool {
		changes, err := c.Changes(call(t), start, time.Second)
		return err == nil && len(changes.Records) == 1
	})
}
