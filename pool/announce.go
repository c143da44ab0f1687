// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/event"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// emit writes a log line and emits an event about a backend of the pool or, if b is nil, about
// the pool. More are names and values.
func (p *Pool) emit(b *backend.Backend, bad bool, message, name, reason string, more ...string) {
	pairs := []string{"pool", p.Name}
	if b != nil {
		pairs = append(pairs, "backend", b.ID, "address", b.Address)
	}
	pairs = append(append(pairs, more...), "reason", reason)
	data, fields := make(map[string]any), []zap.Field(nil)
	for i := 0; i < len(pairs); i += 2 {
		field, value := pairs[i], pairs[i+1]
		data[field] = value
		if field != "reason" || value != "" {
			fields = append(fields, zap.String(field, value))
		}
	}
	log := p.app.logger.Info
	if bad {
		log = p.app.logger.Warn
	}
	log(message, fields...)
	p.app.publish(name, data)
}

// publish emits an event without waiting for its handlers.
func (a *App) publish(name string, data map[string]any) {
	event.Publish(event.Event{Name: name, At: time.Now(), Data: maps.Clone(data)})
	a.executor.Execute(func() { a.emit(name, data) })
}

// all returns a copy of the members, so that the caller can work without the lock.
func (p *Pool) all() []*member {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.members()
}

// announceStatuses announces the backends that went down or came up, by all checks together.
func (w *controlLoop) announceStatuses(p *Pool) {
	if len(p.checks) == 0 {
		return
	}
	for _, m := range p.all() {
		up, changed := m.SwapAnnounced()
		if !changed {
			continue
		}
		m.Outages.Change(up)
		check := int(m.latest.Load())
		if up {
			m.Recovered()
			p.emit(m.Backend, false, "backend is up", "backend_up", "", "check", p.checks[check].name)
			continue
		}
		for i, v := range m.Statuses() {
			if !v.Up() {
				check = i
			}
		}
		reason := cmp.Or(m.Statuses()[check].Report().LastError, "its agent reports it down")
		p.emit(m.Backend, true, "backend is down", "backend_down", reason, "check", p.checks[check].name)
	}
}

// closeStreams closes the streams of the backends that went down or into maintenance, if the pool
// is configured to, or was when they began, and announces that.
func (p *Pool) closeStreams(backends ...*backend.Backend) {
	for _, b := range backends {
		if !p.ClosesOnDown() && !b.HasStreams() {
			continue
		}
		if n, state := b.CloseStreams(); n > 0 {
			p.emit(b, false, "streams of the backend were closed", "backend_streams_closed", state, "closed", strconv.Itoa(n))
		}
	}
}

// announceEjections announces the backends that were ejected or have returned, and reports
// whether the state of any has changed.
func (w *controlLoop) announceEjections(p *Pool) (changed bool) {
	for _, b := range p.View().Members.All {
		ejected, returned, other := b.EjectionChanged()
		changed = changed || ejected || returned || other
		switch {
		case ejected:
			r := b.EjectionReport()
			p.emit(b, true, "backend is ejected", "backend_ejected", r.Reason,
				"for", (r.Until - clock.Now()).Round(time.Millisecond).String())
		case returned:
			p.emit(b, false, "backend has returned", "backend_returned", "")
		}
	}
	return changed
}

// announcePanics announces the begin and the end of panic in each group.
func (w *controlLoop) announcePanics(p *Pool) {
	was, v := w.panics, p.View()
	w.panics = inPanic(p.Pool)
	for i, part := range v.EachGroup() {
		name := p.GroupName(i)
		on := slices.Contains(w.panics, name)
		if on == slices.Contains(was, name) {
			continue
		}
		healthy, total := part.Healthy()
		reason := fmt.Sprintf("%d of %d backends are healthy", healthy, total)
		switch {
		case on:
			p.emit(nil, true, "too few backends are healthy; health is ignored", "pool_panic_on", reason, ofGroup(name)...)
		case part.Panic:
			p.emit(nil, false, "the group that ignores health gets no requests any more", "pool_panic_off", reason, ofGroup(name)...)
		default:
			p.emit(nil, false, "enough backends are healthy again", "pool_panic_off", reason, ofGroup(name)...)
		}
	}
}

// inPanic returns the names of a pool's groups in panic.
func inPanic(p *pool.Pool) (names []string) {
	for _, i := range p.InPanic() {
		names = append(names, p.GroupName(i))
	}
	return names
}

// ofGroup returns the data of an event that tells its group; none for the main group.
func ofGroup(name string) []string {
	if name == "" {
		return nil
	}
	return []string{"group", name}
}

// announceShortage logs, from time to time, that this machine has run out of a resource.
func (w *controlLoop) announceShortage(p *Pool) {
	if times, latest := p.TakeShortage(clock.Now()); times > 0 {
		p.app.logger.Error("local resources for connections are exhausted; the failed attempts and probes do not count against backends",
			zap.String("pool", p.Name), zap.Int64("failed", times), zap.Error(latest))
	}
}

// announceGuard announces that the guard of a group suppresses the results of a check, or has ended.
func (p *Pool) announceGuard(c *check, group string, on bool, failing, total int) {
	reason := fmt.Sprintf("%d of %d backends fail the check", failing, total)
	data := append(ofGroup(group), "check", c.name)
	if on {
		p.emit(nil, true, "most backends fail a check at once while their traffic succeeds; the guard holds their last state", "pool_guard_on", reason, data...)
	} else {
		p.emit(nil, false, "the guard no longer suppresses the check", "pool_guard_off", reason, data...)
	}
}
