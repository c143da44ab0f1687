// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"testing"
)

// fakeStorage is a storage that several instances share.
type fakeStorage struct {
	mu, lock sync.Mutex
	data     []byte
	stored   int
	fails    error
}

func (s *fakeStorage) Load(context.Context, string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails == nil && s.data == nil {
		return nil, fs.ErrNotExist
	}
	return s.data, s.fails
}

func (s *fakeStorage) Store(_ context.Context, _ string, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.data = data
	s.stored++
	return s.fails
}

func (s *fakeStorage) Lock(context.Context, string) error   { s.lock.Lock(); return nil }
func (s *fakeStorage) Unlock(context.Context, string) error { s.lock.Unlock(); return nil }

// Instances that start at once make one secret.
func TestOneSecretIsMade(t *testing.T) {
	st, all := new(fakeStorage), make([]string, 20)
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() {
			var err error
			if all[i], err = readSecret(t.Context(), st); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, s := range all {
		if s != all[0] || len(s) < 32 {
			t.Errorf("%q beside %q", s, all[0])
		}
	}
	if st.stored != 1 {
		t.Errorf("stored %d times", st.stored)
	}
}

func TestSecretThatCannotBeRead(t *testing.T) {
	broken := errors.New("no space left on device")
	if _, err := readSecret(t.Context(), &fakeStorage{fails: broken}); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	st := &fakeStorage{data: []byte("short")}
	if s, err := readSecret(t.Context(), st); err == nil || st.stored > 0 {
		t.Errorf("got %q, stored %d times", s, st.stored)
	}
}
