// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"

	"github.com/ballast-lb/caddy-ballast/fleet/fleettest"
	"github.com/ballast-lb/caddy-ballast/internal/fleet"
)

// faultyStorage is a storage on files with a fault that the test switches on.
type faultyStorage struct {
	certmagic.FileStorage
	fails atomic.Bool
}

var errStorage = errors.New("the storage is gone")

func (s *faultyStorage) Store(ctx context.Context, key string, value []byte) error {
	if s.fails.Load() {
		return errStorage
	}
	return s.FileStorage.Store(ctx, key, value)
}

func (s *faultyStorage) Load(ctx context.Context, key string) ([]byte, error) {
	if s.fails.Load() {
		return nil, errStorage
	}
	return s.FileStorage.Load(ctx, key)
}

func storageIn(dir string) *faultyStorage {
	return &faultyStorage{FileStorage: certmagic.FileStorage{Path: dir}}
}

// The store passes the suite of stores, in virtual time.
func TestCaddyStoreConformance(t *testing.T) {
	for _, name := range fleettest.Tests() {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				fleettest.RunTest(t, name, func() Conn { return newCaddyConn(storageIn(dir), defaultPrefix, 100*time.Millisecond) })
			})
		})
	}
}

// node is an instance with a topic on a store on files.
type node struct {
	*fleet.Fleet
	*fleettest.Map
	storage *faultyStorage
	user    *fleet.User
}

func startNode(t *testing.T, dir, name string) *node {
	storage := storageIn(dir)
	n := startNodeOn(t, storage, name)
	n.storage = storage
	return n
}

func startNodeOn(t *testing.T, storage certmagic.Storage, name string) *node {
	return startNodePolling(t, storage, name, time.Second)
}

func startNodePolling(t *testing.T, storage certmagic.Storage, name string, poll time.Duration) *node {
	n := &node{Fleet: fleet.New(name)}
	n.Map = fleettest.Join(n.Fleet, "sessions/web")
	n.user = &fleet.User{Store: &CaddyStore{Prefix: defaultPrefix, Poll: caddy.Duration(poll), storage: storage}}
	n.Start(n.user)
	t.Cleanup(func() { n.Stop(n.user) })
	return n
}

func within(t *testing.T, most time.Duration, what string, happens func() bool) {
	t.Helper()
	for began := time.Now(); !happens(); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > most {
			t.Fatalf("no %s within %v", what, most)
		}
	}
}

// Three instances have each other's records after a poll, keep those of an instance that ends, and
// push those that the storage has lost.
func TestCaddyStore(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		const poll = time.Second
		all := []*node{startNode(t, dir, "a"), startNode(t, dir, "b"), startNode(t, dir, "c")}
		settled := func() bool {
			for _, n := range all {
				if n.Instances().Len() != len(all) || !n.Instances().Settled() {
					return false
				}
			}
			return true
		}
		within(t, 4*poll, "settled fleet", settled)
		for _, n := range all {
			if n := n.Status().Resyncs["loss"]; n > 0 {
				t.Errorf("%d resyncs after a loss, although the instances only started at the same time", n)
			}
		}
		has := func(key string) func() bool {
			return func() bool {
				for _, n := range all {
					if v, _ := n.Get(key); v != "v" {
						return false
					}
				}
				return true
			}
		}
		for round := range 10 {
			key := fmt.Sprint("k", round)
			all[round%3].Set(all[round%3].Fleet, key, "v", time.Hour)
			within(t, poll*3/2, "record on all instances", has(key))
		}
		// One is killed: it does not leave, and stops writing.
		killed := all[0]
		killed.storage.fails.Store(true)
		all = all[1:]
		within(t, 8*poll, "fleet of two", settled)
		killed.Stop(killed.user)
		within(t, 5*poll, "end of its files", func() bool {
			files, _ := filepath.Glob(filepath.Join(dir, defaultPrefix, fileName(killed.ID())+"*"))
			return len(files) == 0
		})
		all = append(all, startNode(t, dir, "d"))
		within(t, 4*poll, "record of the killed one on a new one", has("k0"))
		within(t, 4*poll, "settled fleet", settled)
		if err := os.Rename(dir, dir+"-lost"); err != nil { // in one step, while instances write
			t.Fatal(err)
		}
		within(t, 8*poll, "instances after the loss", settled)
		late := startNode(t, dir, "late")
		within(t, 8*poll, "records after the loss", func() bool { return late.Map.Len() == 10 })
		if n := all[0].Status().Resyncs["loss"]; n == 0 {
			t.Error("no resync after the loss")
		}
	})
}

// The storage holds a bounded number of records; sessions are dropped first, in the order in which
// they expire, and other records stay.
func TestCaddyStoreIsBounded(t *testing.T) {
	var own ownRecords
	var records []fleet.Record
	for n := range maxOwnRecords {
		records = append(records, fleet.Record{Topic: "sessions/web", Key: fmt.Sprint(n), Version: 1, TTL: time.Duration(n+1) * time.Minute})
	}
	pools := fleet.Record{Topic: "pools/web", Key: "a", Version: 1, TTL: time.Second}
	if dropped := own.merge(append(records, pools)); dropped != maxOwnRecords/10+1 {
		t.Errorf("%d dropped", dropped)
	}
	left := make(map[string]bool)
	for _, r := range own.records() {
		left[r.Topic+" "+r.Key] = true
	}
	if !left["pools/web a"] || left["sessions/web 0"] || !left[fmt.Sprint("sessions/web ", maxOwnRecords-1)] || len(left) != maxOwnRecords/10*9 {
		t.Errorf("%d records are left", len(left))
	}
	large := fleet.Record{Topic: "pools/web", Version: 1, Value: make([]byte, MaxValue), TTL: time.Hour}
	for n := range 1000 {
		large.Key = fmt.Sprint("large ", n)
		own.merge([]fleet.Record{large})
	}
	if data := own.begin(); len(data) > maxOwnBytes+maxOwnBytes/10 {
		t.Errorf("a file of %d bytes", len(data))
	}
}

// A file that is damaged is ignored, and the others are read.
func TestCaddyStoreWithDamagedFiles(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		a := startNode(t, dir, "a")
		folder := filepath.Join(dir, defaultPrefix)
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		for name, content := range map[string]string{"x.beat": "{", "x.records": "ballast\x01short", "y.records": strings.Repeat("z", 100), "y.beat": "", "other": "x"} {
			if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		a.Set(a.Fleet, "k", "v", time.Hour)
		b := startNode(t, dir, "b")
		within(t, 5*time.Second, "record", func() bool { v, _ := b.Get("k"); return v == "v" })
	})
}

// FuzzFiles tests that decoding never panics, and returns at most as many records as there are
// bytes.
func FuzzFiles(f *testing.F) {
	now := time.UnixMilli(1e12)
	f.Add(encodeRecords(1, now, nil))
	f.Add(encodeRecords(7, now, []Record{{Topic: "t", Key: "k", Version: 1, Value: []byte("v"), TTL: time.Hour}, {Topic: "u", TTL: time.Second}}))
	f.Add([]byte(`{"instance":{"id":"a-01234567"},"beats":1,"lives":3000,"written":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, records, err := decodeRecords(data, now); err == nil {
			for _, r := range records {
				if !r.Valid() {
					t.Errorf("invalid record %+v", r)
				}
			}
			if len(records) > len(data) {
				t.Errorf("%d records of %d bytes", len(records), len(data))
			}
		}
		if p, err := decodePresence(data); err == nil && (p.Instance.ID == "" || p.Lives <= 0) {
			t.Errorf("invalid %+v", p)
		}
	})
}
