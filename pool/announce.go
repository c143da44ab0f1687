// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// announcer emits events in their order, on a goroutine that exists while there
// are any: who listens may take long, or reload the configuration.
type announcer struct {
	emit func(name string, data map[string]any)

	mu    sync.Mutex // guards what follows
	queue []event
	busy  bool
}

type event struct {
	name string
	data map[string]any
}

func (a *announcer) announce(name string, data map[string]any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.queue = append(a.queue, event{name, data})
	if !a.busy {
		a.busy = true
		go a.drain()
	}
}

func (a *announcer) drain() {
	for {
		a.mu.Lock()
		if len(a.queue) == 0 {
			a.busy = false
			a.mu.Unlock()
			return
		}
		next := a.queue[0]
		a.queue = a.queue[1:]
		a.mu.Unlock()
		func() {
			defer func() { _ = recover() }() // a handler's fault is not ours
			a.emit(next.name, next.data)
		}()
	}
}

// tell says, in a log line and an event, what has happened to a backend.
func (m *member) tell(bad bool, message, event, reason string, more map[string]any) {
	data := map[string]any{"pool": m.Pool, "backend": m.ID, "address": m.Address, "reason": reason}
	maps.Copy(data, more)
	fields := []zap.Field{zap.String("pool", m.Pool), zap.String("backend", m.ID), zap.String("address", m.Address)}
	for _, name := range slices.Sorted(maps.Keys(more)) {
		fields = append(fields, zap.Any(name, more[name]))
	}
	if reason != "" {
		fields = append(fields, zap.String("reason", reason))
	}
	log := m.pool.app.logger.Info
	if bad {
		log = m.pool.app.logger.Warn
	}
	log(message, fields...)
	m.pool.app.announcer.announce(event, data)
}

// all returns the members, for what may take long.
func (p *Pool) all() []*member {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.members()
}

// tellVerdicts says who has gone down or come up, by all checks together.
func (w *watcher) tellVerdicts(p *Pool) {
	if len(p.checks) == 0 {
		return
	}
	for _, m := range p.all() {
		up, changed := m.Announce()
		if !changed {
			continue
		}
		m.CountTransition()
		check := int(m.latest.Load())
		if up {
			m.Hasten()
			m.tell(false, "backend is up", "backend_up", "", map[string]any{"check": p.checks[check].name})
			continue
		}
		for i, v := range m.Verdicts() {
			if !v.Up() {
				check = i
			}
		}
		reason := cmp.Or(m.Verdicts()[check].Report().LastError, "its agent says so")
		m.tell(true, "backend is down", "backend_down", reason, map[string]any{"check": p.checks[check].name})
	}
}

// tellEjections says who was ejected or has returned, and reports whether
// anybody was or has.
func (w *watcher) tellEjections(p *Pool) (changed bool) {
	for _, b := range p.View().Members.All {
		changed = b.EjectionChanged() || changed
	}
	if !changed {
		return false
	}
	for _, m := range p.all() {
		r := m.EjectionReport()
		switch {
		case r.Total != m.ejections:
			m.tell(true, "backend is ejected", "backend_ejected", r.Reason,
				map[string]any{"for": (r.Until - backend.Now()).Round(time.Millisecond).String()})
		case r.Phase == backend.In && m.phase != backend.In:
			m.tell(false, "backend has returned", "backend_returned", "", nil)
		}
		m.phase, m.ejections = r.Phase, r.Total
	}
	return true
}

// tellPanic says when health begins to be ignored, and when it no longer is.
func (w *watcher) tellPanic(p *Pool) {
	if on := p.View().Panic; on != w.panic {
		w.panic = on
		if on {
			p.tell(true, "too few backends are healthy: health is ignored", "pool_panic_on", w.healthy(p), nil)
		} else {
			p.tell(false, "enough backends are healthy again", "pool_panic_off", w.healthy(p), nil)
		}
	}
}

// healthy says how many of a pool are healthy.
func (w *watcher) healthy(p *Pool) string {
	healthy, of := p.View().Healthy()
	return fmt.Sprintf("%d of %d backends are healthy", healthy, of)
}

// tellGuard says when a check is no longer believed, and when it is again.
func (p *Pool) tellGuard(c *check, on bool, failing, of int) {
	data := map[string]any{"check": c.name}
	reason := fmt.Sprintf("%d of %d backends fail it", failing, of)
	if on {
		p.tell(true, "most backends fail a check at once while their traffic succeeds: their last state is held", "pool_guard_on", reason, data)
	} else {
		p.tell(false, "the check is believed again", "pool_guard_off", reason, data)
	}
}

// tell says what has happened to the pool.
func (p *Pool) tell(bad bool, message, event, reason string, more map[string]any) {
	data := map[string]any{"pool": p.Name, "reason": reason}
	maps.Copy(data, more)
	var fields []zap.Field
	for _, name := range slices.Sorted(maps.Keys(data)) {
		fields = append(fields, zap.Any(name, data[name]))
	}
	log := p.app.logger.Info
	if bad {
		log = p.app.logger.Warn
	}
	log(message, fields...)
	p.app.announcer.announce(event, data)
}
