// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package reach

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

var errGone = errors.New("gone")

// The backoff doubles from 100ms to 1s, less up to a quarter.
func TestBackoff(t *testing.T) {
	for n, want := range []time.Duration{100, 200, 400, 800, 1000, 1000, 1000} {
		want *= time.Millisecond
		for range 100 {
			if got := Backoff(n + 1); got > want || got <= want-want/4 {
				t.Fatalf("%v after %d failures, want at most %v", got, n+1, want)
			}
		}
	}
}

// After any failure, only beats are allowed until one has succeeded, and a failed call waits for
// its own backoff.
func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New()
		opened := make(chan time.Duration, 1)
		await := func() {
			began := time.Now()
			go func() {
				if r.Await(t.Context(), Stream) {
					opened <- time.Since(began)
				}
			}()
			synctest.Wait()
		}
		waits := func(want bool) {
			t.Helper()
			synctest.Wait()
			if (len(opened) == 0) != want {
				t.Fatalf("waits: %v, want %v", len(opened) == 0, want)
			}
		}
		await()
		waits(true)
		r.Record(Beat, nil)
		waits(false)
		<-opened
		for n := range 5 {
			if lost, _ := r.Record(Stream, errGone); lost != (n == 0) {
				t.Errorf("lost %v after %d failures", lost, n+1)
			}
			if _, open := r.Wait(Push); open {
				t.Error("a push is allowed before a beat")
			}
			await()
			time.Sleep(2 * time.Second)
			waits(true)
			if _, returned := r.Record(Beat, nil); returned {
				t.Error("returned while reads of changes still fail")
			}
			waits(false)
			<-opened
			if wait, open := r.Wait(Push); wait > 0 || !open {
				t.Error("a push has to wait for the backoff of changes")
			}
		}
		if connected, since, err := r.Status(); connected || err != errGone || time.Since(since) < 8*time.Second {
			t.Errorf("connected %v, error %v, since %v", connected, err, since)
		}
		if _, returned := r.Record(Stream, nil); !returned {
			t.Error("not returned")
		}
		if connected, _, err := r.Status(); !connected || err != nil {
			t.Errorf("connected %v, error %v", connected, err)
		}
		r.Record(Push, errGone)
		r.Record(Beat, nil)
		if wait, open := r.Wait(Push); !open || wait < 75*time.Millisecond {
			t.Errorf("a push waits for %v, open %v", wait, open)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if r.Await(ctx, Stream) {
			t.Error("Await succeeded after the end of its context")
		}
	})
}

// A panic is an error.
func TestProtect(t *testing.T) {
	err := Protect("testing", func() error { panic("oh") })
	if !errors.Is(err, errPanic) {
		t.Errorf("%v", err)
	}
	if err := Protect("testing", func() error { return errGone }); err != errGone {
		t.Errorf("%v", err)
	}
}
