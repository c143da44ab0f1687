// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"errors"
	weakrand "math/rand/v2"
	"time"

	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/discovery"
	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clip"
	"github.com/ballast-lb/caddy-ballast/internal/panics"
)

const (
	// watchDebounce is the least time between two changes that a source pushes. The first one takes
	// effect at once.
	watchDebounce = 100 * time.Millisecond
	// firstWatchBackoff and lastWatchBackoff bound the wait before a source that has failed is
	// watched again.
	firstWatchBackoff = time.Second
	lastWatchBackoff  = 30 * time.Second
	// maxIgnored bounds how many of the ignored backends of a source are remembered, and logged.
	maxIgnored = 1000
)

// watch watches a source that pushes its backends, until ctx ends.
func (d *sourceState) watch(ctx context.Context, s *source) {
	latest := make(chan pushed, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.receive(ctx, latest)
	}()
	defer func() { <-done }()
	wait := firstWatchBackoff
	for {
		answered := false
		err := watchOnce(ctx, s.watch, func(u discovery.Update) {
			answered = true
			replace(latest, pushed{update: u})
		})
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("the source has ended")
		}
		replace(latest, pushed{err: err})
		if answered {
			wait = firstWatchBackoff
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait/2 + weakrand.N(wait/2+1)):
		}
		wait = min(2*wait, lastWatchBackoff)
	}
}

// pushed is an update of a source, or its failure.
type pushed struct {
	update discovery.Update
	err    error
}

// replace puts p into a channel of capacity 1 that has one sender, instead of an earlier value. A failure does not
// replace an update that was not received yet, since that update is still the latest one.
func replace(latest chan pushed, p pushed) {
	if p.err != nil {
		select {
		case latest <- p:
		default:
		}
		return
	}
	for {
		select {
		case latest <- p:
			return
		default:
		}
		select {
		case <-latest:
		default:
		}
	}
}

// watchOnce calls a source, and returns an error if it panics.
func watchOnce(ctx context.Context, s discovery.Source, update func(discovery.Update)) (err error) {
	defer panics.Catch("watching a source", &err, errSourcePanicked)
	return s.Watch(ctx, update)
}

// receive applies the updates that a source pushes.
func (d *sourceState) receive(ctx context.Context, latest <-chan pushed) {
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-latest:
			d.apply(p)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(watchDebounce):
		}
	}
}

// apply applies an update, or logs a failure.
func (d *sourceState) apply(p pushed) {
	users := d.Users()
	if len(users) == 0 {
		return
	}
	s := users[len(users)-1]
	if p.err == nil {
		p.err = p.update.Prepare()
	}
	if p.err != nil {
		d.answer(s, nil, p.err)
		return
	}
	d.logIgnored(s, p.update.Ignored)
	found := make([]backend.Endpoint, len(p.update.Endpoints))
	for i, e := range p.update.Endpoints {
		if e.Weight == nil {
			e.Weight = new(1)
		}
		found[i] = backend.Endpoint{Address: e.Address, Settings: e.Settings, Draining: e.Draining}
	}
	canonicalAll(found)
	d.answer(s, found, nil)
}

// logIgnored logs entries that a source has found and that are not backends, once for each reason.
func (d *sourceState) logIgnored(s *source, ignored map[string]string) {
	d.mu.Lock()
	before := d.ignored
	d.mu.Unlock()
	logged := make(map[string]string)
	for name, why := range ignored {
		if len(logged) == maxIgnored {
			break
		}
		why = clip.Text(why)
		logged[name] = why
		if before[name] != why {
			s.logger().Warn("discovery found what is no backend", zap.String("found", clip.Text(name)), zap.String("reason", why))
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ignored = logged
}
