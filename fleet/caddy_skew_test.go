// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// skewedStorage is the storage of an instance whose clock is ahead of that of the others.
type skewedStorage struct {
	*faultyStorage
	ahead time.Duration
}

// shift adds to the times in a file.
func shift(key string, data []byte, by time.Duration) []byte {
	switch {
	case strings.HasSuffix(key, beatSuffix):
		var p presence
		if json.Unmarshal(data, &p) == nil {
			p.Written += by.Milliseconds()
			data, _ = json.Marshal(p)
		}
	case strings.HasSuffix(key, recordsSuffix):
		at := data[len(recordsMagic)+8:]
		binary.LittleEndian.PutUint64(at, uint64(int64(binary.LittleEndian.Uint64(at))+by.Milliseconds()))
	}
	return data
}

func (s *skewedStorage) Store(ctx context.Context, key string, value []byte) error {
	return s.faultyStorage.Store(ctx, key, shift(key, value, s.ahead))
}

func (s *skewedStorage) Load(ctx context.Context, key string) ([]byte, error) {
	data, err := s.faultyStorage.Load(ctx, key)
	return shift(key, data, -s.ahead), err
}

// The TTLs of the records of a living instance do not depend on its clock: other instances, also
// one that starts later, keep its records for the TTL, up to a poll.
func TestCaddyStoreWithClocksThatDiffer(t *testing.T) {
	for _, ahead := range []time.Duration{-24 * time.Hour, -20 * time.Second, 20 * time.Second} {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			skewed := startNodeOn(t, &skewedStorage{storageIn(dir), ahead}, "skewed")
			early := startNode(t, dir, "early")
			time.Sleep(10 * time.Second)
			skewed.Set(skewed.Fleet, "k", "v", 15*time.Second)
			early.Set(early.Fleet, "l", "v", 15*time.Second)
			time.Sleep(4 * time.Second)
			late := startNode(t, dir, "late")
			time.Sleep(6 * time.Second)
			for name, n := range map[string]*node{"early": early, "late": late, "skewed": skewed} {
				for _, key := range []string{"k", "l"} {
					if got, _ := n.Get(key); got != "v" {
						t.Errorf("%v ahead: after 10 s of 15, %s has no %s", ahead, name, key)
					}
				}
			}
			time.Sleep(8 * time.Second)
			for name, n := range map[string]*node{"early": early, "late": late, "skewed": skewed} {
				for _, key := range []string{"k", "l"} {
					if _, ok := n.Get(key); ok {
						t.Errorf("%v ahead: after 18 s of 15, %s still has %s", ahead, name, key)
					}
				}
			}
		})
	}
}

// Whoever starts does not take the files of an instance whose clock is a day behind for those of an instance that ended a day
// ago: it removes no file before the instance has been silent. Polls take longer here than those of the one that starts.
func TestCaddyStoreKeepsFilesOfSlowClocks(t *testing.T) {
	for after := time.Duration(0); after < 3*time.Second; after += 250 * time.Millisecond {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			skewed := startNodePolling(t, &skewedStorage{storageIn(dir), -24 * time.Hour}, "skewed", 3*time.Second)
			time.Sleep(10 * time.Second)
			skewed.Set(skewed.Fleet, "k", "v", time.Minute)
			time.Sleep(5*time.Second + after)
			early := startNode(t, dir, "early")
			time.Sleep(10 * time.Second)
			if got, _ := early.Get("k"); got != "v" {
				t.Errorf("started %v later, the other instance has no k", after)
			}
		})
	}
}
