// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"path"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/internal/fleet"
)

// Changes implements [fleet.Conn].
func (c *caddyConn) Changes(ctx context.Context, after fleet.Cursor, wait time.Duration) (fleet.Changes, error) {
	for deadline := time.Now().Add(wait); ; {
		changes, next, err := c.changes(ctx, after)
		left := time.Until(deadline)
		if err != nil || len(changes.Records) > 0 || changes.Instances || left <= 0 {
			return changes, err
		}
		timer := time.NewTimer(min(left, max(next, time.Millisecond)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return changes, ctx.Err()
		}
	}
}

// changes returns the changes since the cursor, without waiting, and the time after which to call it again.
func (c *caddyConn) changes(ctx context.Context, after fleet.Cursor) (changes fleet.Changes, next time.Duration, err error) {
	release, err := c.acquire(ctx)
	if err != nil {
		return changes, 0, err
	}
	defer release()
	if c.position == 0 || after != c.cursor() {
		return changes, 0, fleet.ErrGap
	}
	if due := c.poll - time.Since(c.readAt); due > 0 && c.reported == c.generation {
		return fleet.Changes{Next: after}, due, nil
	}
	if err := c.scan(ctx); err != nil {
		return changes, 0, err
	}
	if err := c.read(ctx, false, func(records []fleet.Record) { changes.Records = append(changes.Records, records...) }); err != nil {
		return fleet.Changes{}, 0, err
	}
	if len(changes.Records) > 0 {
		c.position++
	}
	changes.Next, changes.Instances = c.cursor(), c.reported != c.generation && c.generation > 0
	c.reported = c.generation
	return changes, c.poll, c.adopt(ctx)
}

// All implements [fleet.Conn].
func (c *caddyConn) All(ctx context.Context, yield func([]fleet.Record)) (fleet.Cursor, error) {
	release, err := c.acquire(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	if err := c.scan(ctx); err != nil {
		return "", err
	}
	yield(c.own.records())
	if err := c.read(ctx, true, yield); err != nil {
		return "", err
	}
	c.position++
	return c.cursor(), nil
}

// read yields the records in the files of other instances: all of them, or those that are new since
// the previous read. After an error, the next read yields the same records again.
func (c *caddyConn) read(ctx context.Context, all bool, yield func([]fleet.Record)) error {
	seen := maps.Clone(c.seen)
	for name := range seen {
		if !c.files[name] {
			delete(seen, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.files)) {
		before, known := seen[name]
		if p := c.peers[name]; p != nil && known && !all && p.Revision == before.revision && p.compared == before.compared {
			continue
		}
		file, records, err := c.load(ctx, name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case errors.Is(err, errFile):
			c.log.Warn("ignoring a file of the fleet's store on Caddy's storage", zap.String("file", name+recordsSuffix), zap.Error(err))
			continue
		case err != nil:
			return err
		}
		fresh := records[:0:0]
		for i := range records {
			hash := c.hash(&records[i])
			if _, old := before.hashes[hash]; !old || all {
				fresh = append(fresh, records[i])
			}
			file.hashes[hash] = struct{}{}
		}
		seen[name] = file
		yield(fresh)
	}
	c.seen, c.readAt = seen, time.Now()
	return nil
}

// load loads and decodes a file of records.
func (c *caddyConn) load(ctx context.Context, name string) (file seenFile, records []fleet.Record, err error) {
	data, err := c.storage.Load(ctx, path.Join(c.prefix, name+recordsSuffix))
	if err != nil {
		return file, nil, err
	}
	p := c.peers[name]
	revision, records, err := decodeRecords(data, p.now())
	if err != nil {
		return file, nil, errors.Join(errFile, err)
	}
	return seenFile{revision, p != nil && p.compared, make(map[uint64]struct{}, len(records))}, records, nil
}

// hash returns a hash of a record and of the minute in which it expires.
func (c *caddyConn) hash(r *fleet.Record) uint64 {
	return r.Hash(c.seed, uint64(time.Now().Add(r.TTL).Round(time.Minute).Unix()))
}

// adopt merges the records of dead instances into those of this one, and removes their files. Only the first of
// the living instances, by id, does so.
func (c *caddyConn) adopt(ctx context.Context) error {
	if c.self.ID == "" || len(c.living) == 0 || c.living[0].ID != c.self.ID {
		return nil
	}
	now := time.Now()
	var dead []string
	for name := range c.files {
		if p := c.peers[name]; p == nil || p.silent(now) {
			_, records, err := c.load(ctx, name)
			if err != nil && !errors.Is(err, errFile) {
				return err
			}
			c.own.merge(records)
			dead = append(dead, name)
		}
	}
	for name, p := range c.peers {
		if p.silent(now) && !c.files[name] {
			dead = append(dead, name)
		}
	}
	if len(dead) == 0 {
		return nil
	}
	if err := c.write(ctx); err != nil || c.own.unwritten() {
		return err
	}
	for _, name := range dead {
		if err := c.remove(ctx, name+recordsSuffix); err != nil {
			return err
		}
		if err := c.remove(ctx, name+beatSuffix); err != nil {
			return err
		}
	}
	return nil
}
