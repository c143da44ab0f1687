// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"context"
	"errors"
	"hash/maphash"
	"io/fs"
	"path"
	"strconv"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/internal/fleet"
)

// caddyConn is the connection of an instance to a [CaddyStore]. Safe for concurrent use: acquire lets one
// goroutine at a time use the storage and the fields that belong to it. Pushed records are written soon after Push
// has returned, at most five times per poll interval.
type caddyConn struct {
	storage certmagic.Storage
	prefix  string
	poll    time.Duration
	log     *zap.Logger
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	writes  sync.WaitGroup
	access  chan struct{} // has a value while no goroutine uses the storage
	own     ownRecords

	mu      sync.Mutex  // guards the fields below
	timer   *time.Timer // fires at the next write; nil for none
	failed  error       // of the latest write
	closed  bool
	pusher  string    // the id that Push was called with
	wrote   time.Time // when records were last written
	dropped time.Time // when it was last logged that records were dropped

	// Used by the goroutine that has acquired the storage.
	self        fleet.Instance
	lives       time.Duration // time to live after a beat
	beats       uint64
	applied     string    // the view that the instance has applied
	saved       presence  // content of the beat file of this instance
	savedAt     time.Time // when that was written; zero for never
	peers       map[string]*peer
	files       map[string]bool // names of the record files of other instances
	scanned     time.Time       // when peers and files were last read
	readAt      time.Time       // when the records of other instances were last read
	view        string          // identifies the set of living instances
	generation  uint64          // counts the changes of view
	agreed      uint64          // the latest generation that all instances have applied
	living      []fleet.Instance
	incarnation string
	reported    uint64 // the generation that Beat or Changes has last reported
	position    int
	seen        map[string]seenFile // state of each record file at the latest read
	seed        maphash.Seed
}

// seenFile describes a record file as it was last read.
type seenFile struct {
	revision uint64
	compared bool // the clock of the peer was known, see peer
	hashes   map[uint64]struct{}
}

func newCaddyConn(storage certmagic.Storage, prefix string, poll time.Duration) *caddyConn {
	c := &caddyConn{
		storage: storage, prefix: prefix, poll: poll, log: caddy.Log().Named("ballast.fleet.caddy"),
		access: make(chan struct{}, 1), seen: make(map[string]seenFile), seed: maphash.MakeSeed(),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.access <- struct{}{}
	return c
}

// acquire waits for the exclusive use of the storage. The caller must call release afterwards.
func (c *caddyConn) acquire(ctx context.Context) (release func(), err error) {
	select {
	case <-c.access:
		return func() { c.access <- struct{}{} }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Beat implements [fleet.Conn].
func (c *caddyConn) Beat(ctx context.Context, self fleet.Instance, ttl time.Duration, known uint64) (b fleet.Beat, err error) {
	release, err := c.acquire(ctx)
	if err != nil {
		return b, err
	}
	defer release()
	c.self, c.lives = self, max(ttl, 3*c.poll)
	if self.Acknowledged == c.generation {
		c.applied = c.view
	}
	if err := c.save(ctx); err != nil {
		return b, err
	}
	if time.Since(c.scanned) >= c.poll {
		if err := c.scan(ctx); err != nil {
			return b, err
		}
	} else {
		c.derive(time.Now())
	}
	b = fleet.Beat{Generation: c.generation, Acknowledged: c.acknowledged(), Incarnation: c.incarnation}
	if known != c.generation {
		b.Instances = c.living
	}
	c.reported = c.generation
	return b, nil
}

// save writes the beat file of the instance, if that is due or the content has changed. The caller must have
// acquired the storage.
func (c *caddyConn) save(ctx context.Context) error {
	if c.self.ID == "" {
		return nil
	}
	p := presence{Instance: c.self, Lives: c.lives.Milliseconds(), View: c.applied, Revision: c.own.current()}
	same := p
	same.Beats, same.Written = c.saved.Beats, c.saved.Written
	same.Instance.Acknowledged = c.saved.Instance.Acknowledged
	if same == c.saved && time.Since(c.savedAt) < c.poll*4/5 {
		return nil
	}
	c.beats++
	p.Beats, p.Written = c.beats, time.Now().UnixMilli()
	data, err := p.encode()
	if err != nil {
		return err
	}
	if err := c.storage.Store(ctx, path.Join(c.prefix, fileName(c.self.ID)+beatSuffix), data); err != nil {
		return err
	}
	c.saved, c.savedAt = p, time.Now()
	return nil
}

// Leave implements [fleet.Conn]. The records stay; another instance adopts them.
func (c *caddyConn) Leave(ctx context.Context, id string) error {
	release, err := c.acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err := c.write(ctx); err != nil {
		return err
	}
	return c.remove(ctx, fileName(id)+beatSuffix)
}

// remove deletes a file. It is no error if the file does not exist.
func (c *caddyConn) remove(ctx context.Context, name string) error {
	if err := c.storage.Delete(ctx, path.Join(c.prefix, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Push implements [fleet.Conn].
func (c *caddyConn) Push(_ context.Context, from string, records []fleet.Record) error {
	dropped := c.own.merge(records)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pusher = from
	if dropped > 0 && time.Since(c.dropped) > 10*time.Minute {
		c.dropped = time.Now()
		c.log.Warn("the fleet's store on Caddy's storage is full; it drops the sessions that end soonest, which other instances then do not know",
			zap.Int("dropped", dropped), zap.Int("max_records", maxOwnRecords))
	}
	c.schedule()
	return c.failed
}

// schedule schedules a write of the records if there are unwritten ones. The caller must hold the lock.
func (c *caddyConn) schedule() {
	if c.timer != nil || c.closed || !c.own.unwritten() {
		return
	}
	c.writes.Add(1)
	c.timer = time.AfterFunc(time.Until(c.wrote.Add(c.poll/5)), func() {
		defer c.writes.Done()
		err := c.writeLater()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.timer, c.failed = nil, err
		c.schedule()
	})
}

// writeLater is the scheduled write of the records.
func (c *caddyConn) writeLater() error {
	ctx, cancel := context.WithTimeout(c.ctx, max(10*time.Second, c.poll))
	defer cancel()
	release, err := c.acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	return c.write(ctx)
}

// write writes the records if there are unwritten ones, and then the beat file with their revision. The caller must
// have acquired the storage.
func (c *caddyConn) write(ctx context.Context) error {
	c.mu.Lock()
	id := cmp.Or(c.pusher, c.self.ID)
	c.wrote = time.Now()
	c.mu.Unlock()
	if id == "" {
		return nil
	}
	data := c.own.begin()
	if data == nil {
		return nil
	}
	err := c.storage.Store(ctx, path.Join(c.prefix, fileName(id)+recordsSuffix), data)
	if err != nil {
		c.own.touch()
		return err
	}
	return c.save(ctx)
}

// Close implements [fleet.Conn].
func (c *caddyConn) Close() error {
	c.mu.Lock()
	c.closed = true
	if c.timer != nil && c.timer.Stop() {
		c.writes.Done()
	}
	c.mu.Unlock()
	c.cancel()
	c.writes.Wait()
	return nil
}

// cursor returns the cursor of the current position.
func (c *caddyConn) cursor() fleet.Cursor { return fleet.Cursor(strconv.Itoa(c.position)) }

// Interface guards
var _ fleet.Conn = (*caddyConn)(nil)
