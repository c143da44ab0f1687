// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/sticky"
)

func init() {
	caddy.RegisterModule(new(fakeStore))
	caddy.RegisterModule(new(countingStore))
	caddy.RegisterModule(new(noStore))
}

// fakeStore is a store that is elsewhere. It is as slow as its context lets it, or
// fails, when that is asked of it.
type fakeStore struct{ sticky.Memory }

var (
	storeStuck, storeFails atomic.Bool
	storeAsked             atomic.Int64
)

func (*fakeStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ballast.sessions.fake", New: func() caddy.Module { return new(fakeStore) }}
}

func (s *fakeStore) Open(scope string, l sticky.Lifetimes) (sticky.Sessions, error) {
	sessions, err := s.Memory.Open(scope, l)
	return &fakeSessions{sessions}, err
}

type fakeSessions struct{ sticky.Sessions }

func (s *fakeSessions) wait(ctx context.Context) error {
	storeAsked.Add(1)
	if storeFails.Load() {
		return errors.New("connection refused")
	}
	if storeStuck.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (s *fakeSessions) Get(ctx context.Context, key sticky.Key) (sticky.Binding, bool, error) {
	if err := s.wait(ctx); err != nil {
		return sticky.Binding{}, false, err
	}
	return s.Sessions.Get(ctx, key)
}

func (s *fakeSessions) BindIfAbsent(ctx context.Context, key sticky.Key, b sticky.Binding) (sticky.Binding, error) {
	if err := s.wait(ctx); err != nil {
		return sticky.Binding{}, err
	}
	return s.Sessions.BindIfAbsent(ctx, key, b)
}

// A store that is slow, or gone, costs requests a few milliseconds and their
// sessions, and soon not even that. When it is back, so are the sessions.
func TestStoreThatIsGone(t *testing.T) {
	for name, broken := range map[string]*atomic.Bool{"slow": &storeStuck, "gone": &storeFails} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := setup{n: 3, policy: `,"header":"X-Client","store":{"module":"fake"}`}.load(t, newWorld(t))
				c := newClient()
				c.header.Set("X-Client", "me")
				home := c.get(s).backend
				expect(t, "while the store is there", c.get(s), home, "kept")

				broken.Store(true)
				defer broken.Store(false)
				storeAsked.Store(0)
				began, waited := time.Now(), time.Duration(0)
				for range 1000 { // ten seconds
					before := time.Now()
					if got := c.get(s); got.status != 200 || got.session != "new" {
						t.Fatalf("%v, %d", got, got.status)
					}
					took := time.Since(before)
					if took > 5*time.Millisecond {
						t.Fatalf("a request took %v", took)
					}
					waited += took
					time.Sleep(10*time.Millisecond - took)
				}
				if n := storeAsked.Load(); n > 10 || waited > 50*time.Millisecond {
					t.Errorf("the store was asked %d times in %v, which cost %v", n, time.Since(began), waited)
				}
				broken.Store(false)
				time.Sleep(11 * time.Second)
				expect(t, "when the store is back", c.get(s), home, "kept")
			})
		})
	}
}

// A request waits for the store for as long as store_timeout says.
func TestStoreTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setup{n: 3, policy: `,"header":"X-Client","store":{"module":"fake"},"store_timeout":"70ms"`}.load(t, newWorld(t))
		storeStuck.Store(true)
		defer storeStuck.Store(false)
		c := newClient()
		c.header.Set("X-Client", "me")
		began := time.Now()
		if got := c.get(s); got.status != 200 || time.Since(began) != 70*time.Millisecond {
			t.Errorf("status %d after %v, want 200 after 70ms", got.status, time.Since(began))
		}
	})
}

func TestStoreTimeoutIsChecked(t *testing.T) {
	for policy, want := range map[string]string{
		`,"header":"X-Client","store":{"module":"fake"},"store_timeout":"2s"`:       "store_timeout must be a duration from 1ms to 1s",
		`,"header":"X-Client","store_timeout":"10ms"`:                               "store_timeout has no effect",
		`,"store_timeout":"10ms"`:                                                   "a cookie needs no store",
		`,"header":"X-Client","store":{"module":"redis","address":"10.0.0.9:6379"}`: "github.com/ballast-lb/caddy-ballast/redisstore",
		`,"header":"X-Client","store":{"module":"none"}`:                            "*sticky_test.noStore is not a session store",
	} {
		config := `{"transport":{"protocol":"lbtest"},"upstreams":[{"dial":"a:1"}],"load_balancing":{"selection_policy":{"policy":"sticky"` + policy + `}}}`
		if _, err := lbtest.Load(t, nil, config, newWorld(t).backends(1)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", policy, err, want)
		}
	}
}

// noStore is in the namespace of stores and is none.
type noStore struct{}

func (*noStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ballast.sessions.none", New: func() caddy.Module { return new(noStore) }}
}

// countingStore is a store that is elsewhere, and knows how many sessions there are,
// and how many were looked for in vain.
type countingStore struct{ sticky.Memory }

func (*countingStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ballast.sessions.counting", New: func() caddy.Module { return new(countingStore) }}
}

func (s *countingStore) Open(scope string, l sticky.Lifetimes) (sticky.Sessions, error) {
	sessions, err := s.Memory.Open(scope, l)
	return &countingSessions{sessions.(sticky.Counter)}, err
}

type countingSessions struct{ sticky.Counter }

func (s *countingSessions) Stats() sticky.Stats {
	all := s.Counter.Stats()
	return sticky.Stats{Entries: all.Entries, Misses: all.Misses}
}

// What a store cannot count is absent from metrics, and not zero.
func TestMetricsOfStores(t *testing.T) {
	for store, want := range map[string]string{
		"fake":     "",
		"counting": "entries web lookups_total web miss",
		"memory":   "entries web lookups_total web hit lookups_total web miss removed_total web evicted removed_total web expired",
	} {
		synctest.Test(t, func(t *testing.T) {
			s := setup{n: 2, policy: `,"header":"X-Client","store":{"module":"` + store + `"}`}.load(t, newWorld(t))
			for n := range 10 {
				c := newClient()
				c.header.Set("X-Client", fmt.Sprint(n))
				c.get(s)
			}
			got := scrape(t, s, "caddy_ballast_session_store_")
			// Labels are by name: the pool's before result, and behind reason.
			if names := strings.Join(slices.Sorted(maps.Keys(got)), " "); names != want {
				t.Errorf("%s: series %q, want %q", store, names, want)
			}
			if store != "fake" && got["entries web"] != 10 {
				t.Errorf("%s: %v", store, got)
			}
			pool := pool.Current("web")
			exact := 0
			for _, b := range pool.View().Members.All {
				if c := pool.Sessions(b); c.Complete {
					exact += c.Known
				}
			}
			if store != "fake" && exact != 10 || store == "fake" && exact != 0 {
				t.Errorf("%s: %d sessions are counted", store, exact)
			}
		})
	}
}

// While the store is out of reach, many requests at once do not all wait for it.
func TestStoreThatIsGoneIsAskedByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setup{n: 3, policy: `,"header":"X-Client","store":{"module":"fake"}`}.load(t, newWorld(t))
		storeFails.Store(true)
		defer storeFails.Store(false)
		c := newClient()
		c.header.Set("X-Client", "me")
		c.get(s)
		storeAsked.Store(0)
		time.Sleep(150 * time.Millisecond)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { k := *c; k.get(s) })
		}
		wg.Wait()
		if n := storeAsked.Load(); n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
}

// Without a secret, one is made and kept: instances with one storage agree, also
// one that starts again.
func TestSecretOfTheStorage(t *testing.T) {
	w := newWorld(t)
	load := func(root string) *site {
		p, err := lbtest.Load(t, caddy.ModuleMap{"storage": []byte(`{"module":"file_system","root":"` + root + `"}`)},
			`{"transport":{"protocol":"lbtest"},"upstreams":[{"dial":"a:1"},{"dial":"b:1"},{"dial":"c:1"}],"load_balancing":{"selection_policy":{"policy":"sticky"}}}`, w.backends(3))
		if err != nil {
			t.Fatal(err)
		}
		return &site{p, w}
	}
	root, k := t.TempDir(), newClient()
	one := load(root)
	home := k.get(one).backend
	one.Close()
	expect(t, "on an instance with the same storage", k.get(load(root)), home, "kept")
	if got := k.get(load(t.TempDir())); got.session != "new" {
		t.Errorf("on one with another storage: %v", got)
	}
}
