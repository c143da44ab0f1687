// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/instances"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// handlerStats holds the counters of a handler and the resources that it uses. It outlives
// the configuration. Safe for concurrent use.
type handlerStats struct {
	inFlight atomic.Int64 // fan-outs
	bytes    atomic.Int64 // of the bodies of these fan-outs
	ended    [results]atomic.Int64
	refused  [len(refusals)]atomic.Int64

	mu       sync.Mutex // guards the fields below
	backends map[string]*backendStats
}

// backendStats counts the tries of one backend.
type backendStats struct {
	tries, retries, successes, failures atomic.Int64
}

// registry lists the stats of the handlers in all loaded configurations, with the pool whose
// members the metrics show.
var registry = instances.New(&declared, collect)

// join adds the handler to the registry.
func (h *Handler) join(metrics *prometheus.Registry, pool *pool.Pool) error {
	label := h.Name
	switch {
	case label != "":
	case h.Pool != "":
		label = pool.Name
	default:
		label = "upstreams"
	}
	targets := h.Pool + "\n" + strings.Join(h.Upstreams, "\n")
	i, leave, err := registry.Join(metrics, instances.Handler{Name: h.Name, Label: label, Identity: targets}, pool, newHandlerStats)
	if errors.Is(err, instances.ErrNameTaken) {
		return fmt.Errorf("two fan-outs are named %q and go to different backends; write another name", h.Name)
	}
	h.stats, h.label, h.leave = i.State, i.Label, leave
	return err
}

// Reasons why a request is refused before it is sent to a backend.
const (
	reasonBusy   = "busy"
	reasonBody   = "body_too_large"
	reasonSlow   = "body_timeout"
	reasonBroken = "body_broken"
)

var refusals = [...]string{
	reasonBusy, reasonBody, reasonSlow, reasonBroken, reasonTooFew,
	string(pool.ReasonEmpty), string(pool.ReasonDown), string(pool.ReasonMaintenance),
}

func newHandlerStats() *handlerStats { return &handlerStats{backends: make(map[string]*backendStats)} }

// backend returns the counters of a backend, by its address: after a reload, another backend
// may have its id.
func (l *handlerStats) backend(b *backend.Backend) *backendStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.backends[b.Address]
	if t == nil {
		t = new(backendStats)
		l.backends[b.Address] = t
	}
	return t
}

// maxDeparted is how many backends that are no longer members are remembered.
const maxDeparted = 1000

// prune drops the counters of departed backends when they exceed maxDeparted.
func (l *handlerStats) prune(members *pool.Members) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.backends) < len(members.All)+maxDeparted {
		return
	}
	for address := range l.backends {
		if members.Find(address) == nil {
			delete(l.backends, address)
		}
	}
}

// refuse counts a refusal.
func (l *handlerStats) refuse(reason string) {
	for i, known := range refusals {
		if known == reason {
			l.refused[i].Add(1)
		}
	}
}

// acquire reserves room for a fan-out and the bytes of its body. It returns false if there is
// none.
func (l *handlerStats) acquire(requests int, most, bytes int64) bool {
	if l.inFlight.Add(1) > int64(requests) {
		l.inFlight.Add(-1)
		return false
	}
	if l.bytes.Add(bytes) > most {
		l.release(bytes)
		return false
	}
	return true
}

// release returns what acquire has reserved.
func (l *handlerStats) release(bytes int64) {
	l.bytes.Add(-bytes)
	l.inFlight.Add(-1)
}
