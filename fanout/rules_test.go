// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
	"time"
)

// The wait is that of the formula, computed here without bounds.
func TestWaitIsTheFormula(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		base := 1 + rng.Int64N(1<<(1+rng.IntN(62)))
		b := backoff{base: time.Duration(base), max: time.Duration(min(math.MaxInt64/2, base+rng.Int64N(1<<(1+rng.IntN(61))))), jitter: time.Duration(rng.Int64N(1e9))}
		if b.max < b.base {
			continue
		}
		n, random := rng.IntN(1001), rng.Float64()
		doubled := new(big.Int).Lsh(big.NewInt(base), uint(n))
		want := b.max
		if doubled.Cmp(big.NewInt(int64(b.max))) < 0 {
			want = time.Duration(doubled.Int64())
		}
		want += time.Duration(random * float64(b.jitter))
		if got := b.wait(n, random); got != want {
			t.Fatalf("%+v: retry %d waits %v, want %v", b, n, got, want)
		}
	}
	b := backoff{base: time.Second, max: 64 * time.Second, jitter: 100 * time.Millisecond}
	for n, want := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 64, 64} {
		if got := b.wait(n, 0); got != want*time.Second {
			t.Errorf("retry %d waits %v, want %v", n, got, want*time.Second)
		}
		if got := b.wait(n, 1); got != want*time.Second+100*time.Millisecond {
			t.Errorf("retry %d waits %v, want 100ms more than %v", n, got, want*time.Second)
		}
	}
}

func TestQuorumNeeds(t *testing.T) {
	for _, tt := range []struct {
		text     string
		of, need int
	}{
		{"all", 0, 1}, {"all", 1, 1}, {"all", 5, 5},
		{"majority", 0, 1}, {"majority", 1, 1}, {"majority", 2, 2}, {"majority", 3, 2}, {"majority", 4, 3}, {"majority", 5, 3},
		{"1", 0, 1}, {"2", 5, 2}, {"7", 5, 7},
	} {
		q, err := parseQuorum(tt.text)
		if err != nil || q.String() != tt.text {
			t.Fatalf("%q is %v, %v", tt.text, q, err)
		}
		if got := q.need(tt.of); got != tt.need {
			t.Errorf("%s of %d is %d, want %d", tt.text, tt.of, got, tt.need)
		}
	}
}

// A verdict is final: whatever the open ones do afterwards, it would be the same.
// And it is not put off: while it is open, it depends on them.
func TestVerdictsAreFinalAndSoon(t *testing.T) {
	for _, text := range []string{"all", "majority", "1", "2", "4"} {
		q, err := parseQuorum(text)
		if err != nil {
			t.Fatal(err)
		}
		for of := 1; of <= 6; of++ {
			for accepted := 0; accepted <= of; accepted++ {
				for open := 0; open <= of-accepted; open++ {
					best, worst := q.result(of, accepted+open, 0), q.result(of, accepted, 0)
					switch v := q.result(of, accepted, open); {
					case v == undecided && best == worst:
						t.Errorf("%s of %d, %d accepted, %d open: undecided, but it can only be %v", text, of, accepted, open, best)
					case v != undecided && (v != best || v != worst):
						t.Errorf("%s of %d, %d accepted, %d open: %v, but it may be %v or %v", text, of, accepted, open, v, best, worst)
					}
				}
			}
		}
	}
}

func TestBoundsOfBytesAndRequests(t *testing.T) {
	l := newHandlerStats()
	if !l.acquire(2, 100, 60) || l.acquire(2, 100, 60) || !l.acquire(2, 100, 40) || l.acquire(2, 100, 0) {
		t.Error("not as many were let in as there may be")
	}
	l.release(60)
	l.release(40)
	if l.inFlight.Load() != 0 || l.bytes.Load() != 0 {
		t.Errorf("%d requests and %d bytes are left", l.inFlight.Load(), l.bytes.Load())
	}
}
