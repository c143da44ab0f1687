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
	"github.com/ballast-lb/caddy-ballast/internal/persist"
	"github.com/ballast-lb/caddy-ballast/internal/shared"
)

// Persistence configures whether the state of backends outlives the process.
type Persistence struct {
	// Persist saves the state of the backends of all pools in Caddy's storage, so that it
	// survives a restart. Learned state (which backends are up, ejections and their remaining
	// time, what agents have set, latencies) is restored if it is younger than ten minutes.
	// Changes that an operator made at run time are restored whatever their age. The state is
	// written at most every 10s, and when Caddy stops. Each instance of Caddy has a file of its
	// own, named by the id in its data directory, so that instances with one storage, or
	// processes with one data directory, do not overwrite each other's state. An instance that
	// has lost its data directory, such as a container without a volume for it, starts without
	// state. Default: false.
	Persist bool `json:"persist,omitempty"`

	store      *stateStore // nil without Persist; set by Provision
	refs       shared.Refs // to the state store
	generation int64       // number of this configuration in the process
	began      time.Time   // set by Start
}

const (
	// saveEvery is the interval of the check whether there is new state to save.
	saveEvery = 10 * time.Second
	// quarantine is the time during which a new configuration saves nothing unless an operator
	// changes something, since the configuration may still be rejected.
	quarantine = 2 * time.Second
	// learnedFor is how long learned state is valid. keepOperatorFor is how long the operator's
	// changes of a departed backend are kept.
	learnedFor      = 10 * time.Minute
	keepOperatorFor = 24 * time.Hour
	// confirmEvery is the interval after which unchanged state is saved again, so that it is
	// still valid if the process dies without a final save.
	confirmEvery = learnedFor / 2
	// storageTimeout bounds each access to the storage.
	storageTimeout = 5 * time.Second
)

// attachStore loads the state that an earlier process has saved. It changes no backends, and
// must be called before pools are created.
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
	if loaded { // the state in memory is newer
		return
	}
	nothing := new(persist.Snapshot)
	k.generation = a.generation
	k.stored, _ = nothing.Encode()
	key, s, err := a.read()
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		k.stored = nil
		a.logger.Warn("saved backend state is unusable; starting without it", zap.String("key", key), zap.Error(err))
		return
	}
	k.at = s.Saved
	k.stored, _ = (&persist.Snapshot{Backends: s.Backends}).Encode()
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
				// The operator's changes of a backend that was in its pool are valid whatever
				// their age, and are kept for another keepOperatorFor.
				was = now.Truncate(time.Second)
			}
		}
		if r.Seen = was; !r.Empty() && now.Sub(was) < keepOperatorFor {
			k.records[r.Key()] = r
		}
	}
}

// fresh reports whether learned state is still valid. A timestamp more than a minute in the
// future is not trusted, since the clock may have been set back.
func fresh(now, at time.Time) bool {
	age := now.Sub(at)
	return age > -time.Minute && age < learnedFor
}

// restore references the state of a backend. If the process has none yet, it restores the state
// and the statuses from the stored record.
func (p *Pool) restore(l *shared.Refs, key backend.StateKey, statuses []*health.Status) {
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
		r.Restore(s, p.Options().Outliers, p.checkNames(), statuses)
		return s
	})
}

// startSaving begins to save periodically.
func (a *App) startSaving() {
	if a.store != nil {
		a.began = time.Now()
		a.store.Start(a)
	}
}

// finalSave saves for the last time, unless another configuration continues.
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
