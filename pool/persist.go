// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/shared"
)

// Persistence is whether what is known of backends outlives the process.
type Persistence struct {
	// Persist keeps what is known of the backends of all pools in Caddy's storage,
	// so that it survives a restart: for ten minutes what was learned (who is up,
	// who is ejected and for how long still, what agents want, latencies), and
	// whatever its age what an operator has asked for at run time. It is written
	// at most every 10s, and when Caddy stops. Each instance of Caddy has a file
	// of its own there, named by the id that it keeps in its data directory, so
	// that instances with one storage do not disturb each other, nor do processes
	// with one data directory. An instance that
	// has lost its data directory, such as a container without a volume for it,
	// begins anew. Default: false.
	Persist bool `json:"persist,omitempty"`

	store      *stateStore // nil without Persist; set by Provision
	refs       shared.Refs // of the keeper
	generation int64       // tells configurations apart
	began      time.Time   // set by Start
}

const (
	// saveEvery is how often it is looked whether there is something to save.
	saveEvery = 10 * time.Second
	// quarantine is for how long a configuration saves nothing: it may yet be
	// rejected.
	quarantine = 2 * time.Second
	// learnedFor is for how long counts what was learned, and askedFor for how
	// long is kept what an operator has asked of a backend that is gone.
	learnedFor      = 10 * time.Minute
	keepOperatorFor = 24 * time.Hour
	// confirmEvery is when to save what has not changed, so that it is not too
	// old to count when the process dies without a word.
	confirmEvery = learnedFor / 2
	// storageTimeout bounds each use of the storage.
	storageTimeout = 5 * time.Second
)

// attachStore reads what an earlier process has left. It changes nothing, and must
// be called before there are pools.
func (a *App) attachStore() {
	if !a.Persist {
		return
	}
	k := shared.LoadOrNew(&a.refs, stateStoreKey{}, newStateStore)
	a.store = k
	k.mu.Lock()
	loaded := k.loaded
	k.loaded = true
	k.generations++
	a.generation = k.generations
	k.mu.Unlock()
	if loaded { // this process knows better
		return
	}
	nothing := new(backend.Snapshot)
	k.generation = a.generation
	k.stored, _ = nothing.Encode()
	key, s, err := a.read()
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		k.stored = nil
		a.logger.Warn("what was kept of backends cannot be used; going on without it", zap.String("key", key), zap.Error(err))
		return
	}
	k.at = s.Saved
	k.stored, _ = (&backend.Snapshot{Backends: s.Backends}).Encode()
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range s.Backends {
		was := r.Seen
		if was.IsZero() {
			was = s.Saved
		}
		if !fresh(now, was) {
			r.Forget()
			if r.Seen.IsZero() || was.After(now) {
				// What an operator asked of one that was there counts whatever its
				// age, and begins a new day.
				was = now.Truncate(time.Second)
			}
		}
		if r.Seen = was; !r.Empty() && now.Sub(was) < keepOperatorFor {
			k.records[r.Key()] = r
		}
	}
}

// fresh reports whether what was learned counts. A clock that was set back has
// its doubts.
func fresh(now, at time.Time) bool {
	age := now.Sub(at)
	return age > -time.Minute && age < learnedFor
}

// restore leases the state of a backend and, if that was not there before, has it
// and the verdicts begin with what was known of it.
func (p *Pool) restore(l *shared.Refs, key backend.StateKey, verdicts []*health.Status) {
	k := p.app.store
	if k == nil {
		return
	}
	k.mu.Lock()
	r := k.records[p.recordKey(key)]
	k.mu.Unlock()
	if !fresh(time.Now(), r.Seen) {
		r.Forget()
	}
	if r.Empty() {
		return
	}
	shared.LoadOrNew(l, key, func() *backend.State {
		s := backend.NewState()
		r.Restore(s, p.Rules().Outliers, p.checkNames(), verdicts)
		return s
	})
}

// startSaving begins to save.
func (a *App) startSaving() {
	if a.store != nil {
		a.began = time.Now()
		a.store.Start(a)
	}
}

// finalSave saves for the last time, unless another configuration goes on.
func (a *App) finalSave() {
	if a.store == nil {
		return
	}
	k := a.store
	last := slices.Equal(k.Users(), []*App{a})
	k.Stop(a)
	if !last {
		return
	}
	if upTo, urgent := k.urgent(); urgent || time.Since(a.began) >= quarantine {
		k.done(upTo, k.save(context.Background(), a, 0))
	}
}
