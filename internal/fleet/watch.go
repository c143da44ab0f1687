// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"sync"

	"github.com/ballast-lb/caddy-ballast/internal/panics"
)

// watchers are the functions to call after changes of the instances. Safe for concurrent use.
type watchers struct {
	mu  sync.Mutex
	all map[*watcher]struct{}
}

type watcher struct{ changed func(*Instances) }

// Watch calls changed after each change of [Fleet.Instances] or of a share, until cancel is called. All calls
// are on one goroutine, which changed must not block. A call may still be running when cancel returns.
func (f *Fleet) Watch(changed func(*Instances)) (cancel func()) {
	if f == nil {
		return func() {}
	}
	w := &watcher{changed}
	l := &f.watchers
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = make(map[*watcher]struct{})
	}
	l.all[w] = struct{}{}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.all, w)
	}
}

// setInstances sets the living instances, and calls the watchers.
func (f *Fleet) setInstances(i *Instances) {
	f.instances.Store(i)
	f.watchers.mu.Lock()
	all := make([]*watcher, 0, len(f.watchers.all))
	for w := range f.watchers.all {
		all = append(all, w)
	}
	f.watchers.mu.Unlock()
	for _, w := range all {
		func() {
			defer panics.Recover("reporting the instances of a fleet")
			w.changed(i)
		}()
	}
}
