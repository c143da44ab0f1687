// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package persist

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"time"

	"go.uber.org/zap"
)

const (
	// keptUnder is the directory in the storage, with a file for each instance.
	keptUnder = "ballast/state"
	keptAs    = ".json"
	// unusableAs ends the name of a copy of a file that could not be read.
	unusableAs = ".unusable" + keptAs
	// abandoned is the age at which the file of another instance is removed. A running instance
	// saves its file again every few minutes. Without the removal, containers that get a new id
	// with each start would fill the storage.
	abandoned = 30 * 24 * time.Hour
	// sweepAtMost and sweepFor bound the number of files that a sweep reads, and its time.
	sweepAtMost = 1000
	sweepFor    = time.Minute
	// storageTimeout bounds each access to the storage.
	storageTimeout = 5 * time.Second
)

// read returns the newest snapshot in the storage: that of this process or, if newer, that of a
// running process that was started in the same way.
func (g *Generation) read(ctx context.Context) (key string, s *Snapshot, err error) {
	key, duplicates, err := stateFile(false)
	if err != nil {
		return key, nil, err
	}
	s, err = g.loadFile(ctx, key)
	for _, duplicate := range duplicates {
		if other, err := g.loadFile(ctx, duplicate); err == nil && (s == nil || other.Saved.After(s.Saved)) {
			s = other
		}
	}
	if s != nil {
		err = nil
	}
	return key, s, err
}

func (g *Generation) loadFile(ctx context.Context, key string) (*Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	data, err := g.storage.Load(ctx, key)
	if err != nil {
		return nil, err
	}
	return DecodeSnapshot(data)
}

// write replaces the snapshot in the storage. Storages must replace it atomically: Caddy's
// default storage writes a new file and renames it, so that a crash leaves the old file or the
// new one.
func (g *Generation) write(ctx context.Context, s *Snapshot) (key string, err error) {
	data, err := s.Encode()
	if err != nil {
		return "", err
	}
	if key, _, err = stateFile(true); err != nil {
		return key, err
	}
	ctx, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	if g.store.unusable {
		if err = g.keepUnusable(ctx, key); err != nil {
			return key, err
		}
		g.store.unusable = false
	}
	return key, g.storage.Store(ctx, key, data)
}

// keepUnusable copies a file that could not be read to another one before it is replaced: its storage may only have been
// down, or a later version may have written it.
func (g *Generation) keepUnusable(ctx context.Context, key string) error {
	data, err := g.storage.Load(ctx, key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	other := strings.TrimSuffix(key, keptAs) + unusableAs
	if err = g.storage.Store(ctx, other, data); err == nil {
		g.logger.Warn("kept the unusable backend state in another file", zap.String("key", other))
	}
	return err
}

// sweep removes the files of abandoned instances.
func (g *Generation) sweep(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, sweepFor)
	defer cancel()
	storage := g.storage
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
			g.logger.Info("removed the saved backend state of an abandoned Caddy instance", zap.String("key", key))
		}
	}
}
