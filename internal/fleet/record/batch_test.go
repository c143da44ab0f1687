// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package record

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func random(rng *rand.Rand) Record {
	text := func(most int) string {
		b := make([]byte, rng.IntN(most+1))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return string(b)
	}
	return Record{
		Topic: "t" + text(3), Key: text(40), Version: rng.Uint64(), Value: []byte(text(100)),
		TTL: time.Duration(1+rng.IntN(1e9)) * time.Millisecond,
	}
}

// A batch of records round-trips through its encoding.
func TestBatchRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	long := Record{Topic: strings.Repeat("t", MaxName), Key: strings.Repeat("k", MaxName), Version: 1<<64 - 1, Value: bytes.Repeat([]byte("v"), MaxValue), TTL: MaxTTL}
	for n := range 100 {
		want := make([]Record, n)
		for i := range want {
			want[i] = random(rng)
		}
		want = append(want, long, Record{Topic: "t", Value: []byte{}, TTL: time.Millisecond})
		got, err := DecodeBatch(AppendBatch(nil, want))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%d records: %v", n, err)
		}
	}
	if got, err := DecodeBatch(AppendBatch(nil, nil)); err != nil || len(got) > 0 {
		t.Errorf("no records: %v (%v)", got, err)
	}
	got, err := DecodeBatch(AppendBatch(nil, []Record{{Topic: "t", TTL: time.Nanosecond}}))
	if err != nil || got[0].TTL != time.Millisecond {
		t.Errorf("a TTL of less than a millisecond: %+v (%v)", got, err)
	}
}

// A batch that is truncated, too long or of another version is rejected.
func TestInvalidBatches(t *testing.T) {
	valid := AppendBatch(nil, []Record{{Topic: "t", Key: "k", Version: 1, Value: []byte("v"), TTL: time.Second}})
	for n := range valid {
		if _, err := DecodeBatch(valid[:n]); !errors.Is(err, ErrBatch) {
			t.Errorf("%d of %d bytes: %v", n, len(valid), err)
		}
	}
	if _, err := DecodeBatch(append(slices.Clone(valid), 0)); !errors.Is(err, ErrBatch) {
		t.Errorf("a byte more: %v", err)
	}
	later := slices.Clone(valid)
	later[0]++
	if _, err := DecodeBatch(later); !errors.Is(err, ErrBatch) {
		t.Errorf("a later version: %v", err)
	}
	if _, err := DecodeBatch(AppendBatch(nil, []Record{{Topic: "", Key: "k", TTL: time.Second}})); !errors.Is(err, ErrBatch) {
		t.Errorf("no topic: %v", err)
	}
}

// FuzzBatch tests that decoding never panics, and that valid batches round-trip.
func FuzzBatch(f *testing.F) {
	rng := rand.New(rand.NewPCG(3, 4))
	for n := range 5 {
		records := make([]Record, n)
		for i := range records {
			records[i] = random(rng)
		}
		f.Add(AppendBatch(nil, records))
	}
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		records, err := DecodeBatch(data)
		if err != nil {
			return
		}
		if len(records) > len(data) {
			t.Errorf("%d records of %d bytes", len(records), len(data))
		}
		again, err := DecodeBatch(AppendBatch(nil, records))
		if err != nil || len(again) != len(records) {
			t.Fatalf("%d records of %d (%v)", len(again), len(records), err)
		}
		for i := range records {
			if !records[i].Valid() || !reflect.DeepEqual(records[i], again[i]) {
				t.Errorf("%+v is %+v after another round trip", records[i], again[i])
			}
		}
	})
}

// Batches are within the bounds, and hold all records in order.
func TestBatches(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	var all []Record
	for i := range 5000 {
		r := Record{Topic: "t", Key: fmt.Sprint(i), TTL: time.Second}
		if rng.IntN(10) == 0 {
			r.Value = make([]byte, rng.IntN(MaxValue))
		}
		all = append(all, r)
	}
	next := 0
	Batches(all, func(batch []Record) bool {
		size := 0
		for _, r := range batch {
			if r.Key != fmt.Sprint(next) {
				t.Fatalf("record %s, want %d", r.Key, next)
			}
			next++
			size += r.Size()
		}
		if len(batch) > MaxBatch || size > MaxBatchBytes || len(AppendBatch(nil, batch)) > MaxBatchBytes {
			t.Errorf("a batch of %d records with %d bytes", len(batch), size)
		}
		return true
	})
	if next != len(all) {
		t.Errorf("%d records of %d", next, len(all))
	}
}

// The winner of several records does not depend on the order of comparison.
func TestCompare(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for range 1000 {
		records := make([]Record, 6)
		for i := range records {
			records[i] = Record{Version: rng.Uint64N(3), Value: []byte{byte(rng.IntN(3))}[:rng.IntN(2)]}
		}
		winner := func() Record {
			best := records[0]
			for _, r := range records {
				if r.Compare(&best) > 0 {
					best = r
				}
			}
			return best
		}
		first := winner()
		for range 5 {
			rng.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
			if again := winner(); again.Compare(&first) != 0 {
				t.Fatalf("%+v and %+v both win", first, again)
			}
		}
	}
}
