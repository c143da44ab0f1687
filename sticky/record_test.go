// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"bytes"
	"cmp"
	"testing"
	"time"
)

// A later move wins over an earlier one, any move over a binding, and of bindings the first.
func TestVersionsOrderBindings(t *testing.T) {
	const noon = 1_800_000_000_000
	first, second := firstVersion(noon), firstVersion(noon+1)
	if first <= second {
		t.Error("the second binding wins over the first")
	}
	moved, later := nextVersion(second, noon+5), nextVersion(first, noon+9)
	if moved <= first || later <= first {
		t.Error("a binding wins over a move")
	}
	if moved <= later {
		t.Error("of concurrent moves the later wins")
	}
	if gone := nextVersion(0, noon+7); gone <= first {
		t.Error("a move of a session that is gone here does not win over the binding elsewhere")
	}
	for v, n := first, 0; n < 3*maxMoves; n++ {
		next := nextVersion(v, noon+int64(n))
		if next <= v {
			t.Fatalf("move %d has version %#x after %#x", n, next, v)
		}
		v = next
	}
}

// FuzzRecord: whatever the store has is refused or is a record that it would be again, and values
// order as records do.
func FuzzRecord(f *testing.F) {
	r := record{Binding{Backend: 1 << 40, Issued: 5000, Seen: 9000}, 7}
	f.Add(uint64(7), r.value(), r.value(), int64(1000), int64(9000), int64(0))
	f.Add(uint64(0), []byte{}, make([]byte, recordSize+1), int64(-1), int64(0), int64(60))
	f.Add(uint64(1<<63), bytes.Repeat([]byte{255}, recordSize), make([]byte, recordSize), int64(1), int64(1<<33), int64(1<<33))
	f.Fuzz(func(t *testing.T, version uint64, value, other []byte, ttl, now, absolute int64) {
		now, ttl, absolute = now&(1<<32-1), ttl%(1<<31), absolute&(1<<31-1)
		l := Lifetimes{Idle: time.Hour, Absolute: time.Duration(absolute) * time.Second}
		parse := func(value []byte) (record, bool) {
			return parseRecord(version, value, time.Duration(ttl)*time.Second, l, now)
		}
		r, ok := parse(value)
		if ok != (len(value) == recordSize && ttl > 0) {
			t.Fatalf("%x with a TTL of %d is accepted: %v", value, ttl, ok)
		}
		if !ok {
			return
		}
		if got := r.value(); r.Seen < 0 || !bytes.Equal(got[:12], value[:12]) {
			t.Errorf("%x becomes %+v and %x", value, r, got)
		}
		again, ok := parseRecord(version, r.value(), time.Duration(max(l.left(r.Binding, now), 1))*time.Second, l, now)
		if alive, _ := l.Alive(r.Binding, now); alive && (!ok || again != r) {
			t.Errorf("%+v comes back as %+v", r, again)
		}
		if o, ok := parse(other); ok && r.Seen == seenIn(value) && o.Seen == seenIn(other) {
			if cmp.Compare(r.compare(o), 0) != bytes.Compare(value, other) {
				t.Errorf("%+v and %+v compare as %d", r, o, r.compare(o))
			}
		}
	})
}

func seenIn(value []byte) int64 {
	return int64(value[12])<<24 | int64(value[13])<<16 | int64(value[14])<<8 | int64(value[15])
}

// A record says how long it has to live, so that instances need no common clock.
func TestRecordsNeedNoCommonClock(t *testing.T) {
	l := Lifetimes{Idle: 1000 * time.Second}
	for _, ahead := range []int64{-3600, -100, 0, 1, 100, 3600} {
		const now = 1_000_000
		there := record{Binding{Backend: 1, Issued: now + ahead - 500, Seen: now + ahead - 400}, 1}
		left := l.left(there.Binding, now+ahead)
		here, ok := parseRecord(1, there.value(), time.Duration(left)*time.Second, l, now)
		if got := l.left(here.Binding, now); !ok || got < left-clocksAgree || got > left+clocksAgree {
			t.Errorf("clock %d s ahead: %d s left there, %d here", ahead, left, got)
		}
	}
}
