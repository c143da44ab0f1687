// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/fleet"
)

// maxFiles is the maximum number of files that are read. This store is for small fleets.
const maxFiles = 1000

// peer is another instance, by its beat file.
type peer struct {
	presence
	changed time.Time // when this instance first saw its file as it is
	// old reports that the file was written long ago when this instance first saw it, by their clocks.
	old bool
	// behind is how far its clock is behind that of this instance, or up to a poll less. It is
	// known, and compared is set, once its file has changed.
	behind   time.Duration
	compared bool
}

// now returns the time of the clock of the instance, or up to a poll earlier. If that clock was not
// compared, it assumes that the clocks agree, unless the instance has written later. A nil peer is
// unknown.
func (p *peer) now() time.Time {
	now := time.Now()
	switch {
	case p == nil:
		return now
	case p.compared:
		return now.Add(-p.behind)
	}
	if written := time.UnixMilli(p.Written); written.After(now) {
		return written
	}
	return now
}

// deadAge is the age from which an instance counts as dead when its beat file is first seen. The age is the
// difference of the clocks of two machines, so it must be large.
const deadAge = time.Hour

// scan reads the beat files of the other instances, and the names of the record files. The caller must have acquired
// the storage.
func (c *caddyConn) scan(ctx context.Context) error {
	keys, err := c.storage.List(ctx, c.prefix, false)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := c.readIncarnation(ctx, keys); err != nil {
		return err
	}
	now := time.Now()
	peers, files := make(map[string]*peer), make(map[string]bool)
	own := fileName(c.self.ID)
	for _, key := range keys[:min(len(keys), maxFiles)] {
		name := path.Base(key)
		if records, ok := strings.CutSuffix(name, recordsSuffix); ok && records != own {
			files[records] = true
		}
		name, ok := strings.CutSuffix(name, beatSuffix)
		if !ok || name == own && c.self.ID != "" {
			continue
		}
		data, err := c.storage.Load(ctx, path.Join(c.prefix, name+beatSuffix))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		p, err := decodePresence(data)
		if err != nil {
			continue // incomplete, or of another version of Ballast
		}
		next, age := &peer{presence: p, changed: now}, now.Sub(time.UnixMilli(p.Written))
		switch old, ok := c.peers[name]; {
		case ok && old.Beats == p.Beats:
			next.changed, next.old, next.behind, next.compared = old.changed, old.old, old.behind, old.compared
		case ok:
			next.behind, next.compared = age, true
			if old.compared && age-old.behind < 2*c.poll { // otherwise a clock was set
				next.behind = min(age, old.behind+c.poll/10)
			}
		case age > deadAge || age < -deadAge:
			next.old = true
		}
		peers[name] = next
	}
	c.peers, c.files, c.scanned = peers, files, now
	c.derive(now)
	return nil
}

// lives reports whether the instance lives.
func (p *peer) lives(now time.Time) bool { return !p.old && !p.silent(now) }

// silent reports whether the file has not changed for too long, as seen by this instance. A clock that is far behind makes
// the file of a living instance old.
func (p *peer) silent(now time.Time) bool {
	return now.Sub(p.changed) >= time.Duration(p.Lives)*time.Millisecond
}

// derive derives the view and the generation from the living instances.
func (c *caddyConn) derive(now time.Time) {
	if c.self.ID == "" {
		return
	}
	all := []fleet.Instance{c.self}
	for _, p := range c.peers {
		if p.lives(now) {
			all = append(all, p.Instance)
		}
	}
	slices.SortFunc(all, func(a, b fleet.Instance) int { return strings.Compare(a.ID, b.ID) })
	hash := sha256.New()
	for _, i := range all {
		hash.Write([]byte(i.ID + "\n" + i.Zone + "\n"))
	}
	if view := hex.EncodeToString(hash.Sum(nil)[:12]); view != c.view {
		c.view = view
		c.generation++
	}
	c.living = all
}

// acknowledged returns the latest generation that all living instances have applied.
func (c *caddyConn) acknowledged() uint64 {
	if c.applied != c.view {
		return c.agreed
	}
	now := time.Now()
	for _, p := range c.peers {
		if p.lives(now) && p.View != c.view {
			return c.agreed
		}
	}
	c.agreed = c.generation
	return c.agreed
}

// readIncarnation checks that the file of the known incarnation still exists. If not, or if none is
// known, it uses the first incarnation in the storage, or creates one. The file is named after the
// incarnation, so that instances that create one concurrently do not overwrite each other's, which
// would look like a loss.
func (c *caddyConn) readIncarnation(ctx context.Context, keys []string) error {
	if c.incarnation != "" {
		if _, err := c.storage.Load(ctx, path.Join(c.prefix, incarnationPrefix+c.incarnation)); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		c.own.touch()
		clear(c.seen)
		c.mu.Lock()
		c.schedule()
		c.mu.Unlock()
		c.incarnation = ""
	}
	for _, key := range keys {
		if known, ok := strings.CutPrefix(path.Base(key), incarnationPrefix); ok && (c.incarnation == "" || known < c.incarnation) {
			c.incarnation = known
		}
	}
	if c.incarnation != "" {
		return nil
	}
	next := rand.Text()
	if err := c.storage.Store(ctx, path.Join(c.prefix, incarnationPrefix+next), []byte(next)); err != nil {
		return err
	}
	c.incarnation = next
	return nil
}
