// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/persist"
)

const (
	// keptUnder is the directory in the storage, with a file for each instance.
	keptUnder = "ballast/state"
	keptAs    = ".json"
	// abandoned is the age at which the file of another instance is removed. A running instance
	// saves its file again every few minutes. Without the removal, containers that get a new id
	// with each start would fill the storage.
	abandoned = 30 * 24 * time.Hour
	// sweepAtMost and sweepFor bound the number of files that a sweep reads, and its time.
	sweepAtMost = 1000
	sweepFor    = time.Minute
)

// read returns the newest snapshot in the storage: that of this process or, if newer, that of a
// running process that was started in the same way.
func (a *App) read() (key string, s *persist.Snapshot, err error) {
	key, duplicates, err := stateFile(false)
	if err != nil {
		return key, nil, err
	}
	s, err = a.load(key)
	for _, duplicate := range duplicates {
		if other, err := a.load(duplicate); err == nil && (s == nil || other.Saved.After(s.Saved)) {
			s = other
		}
	}
	if s != nil {
		err = nil
	}
	return key, s, err
}

func (a *App) load(key string) (*persist.Snapshot, error) {
	ctx, cancel := context.WithTimeout(a.ctx, storageTimeout)
	defer cancel()
	data, err := a.ctx.Storage().Load(ctx, key)
	if err != nil {
		return nil, err
	}
	return persist.DecodeSnapshot(data)
}

// write replaces the snapshot in the storage. Storages must replace it atomically: Caddy's
// default storage writes a new file and renames it, so that a crash leaves the old file or the
// new one.
func (a *App) write(ctx context.Context, s *persist.Snapshot) (key string, err error) {
	data, err := s.Encode()
	if err != nil {
		return "", err
	}
	if key, _, err = stateFile(true); err != nil {
		return key, err
	}
	ctx, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	return key, a.ctx.Storage().Store(ctx, key, data)
}

// sweep removes the files of abandoned instances.
func (a *App) sweep(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, sweepFor)
	defer cancel()
	storage := a.ctx.Storage()
	own, _, err := stateFile(true)
	if err != nil {
		return
	}
	keys, err := storage.List(ctx, keptUnder, false)
	if err != nil {
		return
	}
	for _, key := range keys[:min(len(keys), sweepAtMost)] {
		if key == own || !strings.HasPrefix(key, keptUnder+"/") || !strings.HasSuffix(key, keptAs) {
			continue
		}
		info, err := storage.Stat(ctx, key)
		if err != nil || info.Modified.IsZero() || time.Since(info.Modified) < abandoned {
			continue
		}
		if err = storage.Delete(ctx, key); err == nil || errors.Is(err, fs.ErrNotExist) {
			a.logger.Info("removed the saved backend state of an abandoned Caddy instance", zap.String("key", key))
		}
	}
}

// records returns the records of all backends of the configuration.
func (a *App) records() (all []persist.Record) {
	for _, p := range a.all() {
		checks := p.checkNames()
		var records []persist.Record
		for _, m := range p.all() {
			records = append(records, persist.RecordOf(m.Backend, p.recordKey(m.key), checks))
		}
		all = append(all, p.overlayRecords(records)...)
	}
	return all
}

// recordKey returns the key of a backend in the storage. For an unnamed pool it contains a
// digest of the checks, which may hold secrets.
func (p *Pool) recordKey(key backend.StateKey) backend.StateKey {
	if p.Unnamed {
		key.Pool = ":" + digest(p.identity)
	}
	return key
}

// checkNames returns the identities of the checks in the storage, without their secrets.
func (p *Pool) checkNames() (names []string) {
	for _, c := range p.checks {
		names = append(names, c.name+":"+digest(c.identity))
	}
	return names
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:12])
}
