// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package crossing

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/certmagic"

	"github.com/ballast-lb/caddy-ballast/fleet/fleettest"
	"github.com/ballast-lb/caddy-ballast/healthcheck"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

func init() {
	caddy.RegisterModule(new(check))
	caddy.RegisterModule(new(agentCheck))
	caddy.RegisterModule(new(source))
	caddy.RegisterModule(new(pushSource))
	caddy.RegisterModule(new(linkStore))
	caddy.RegisterModule(new(storageModule))
}

// server is one simulated backend. The world's lock guards it.
type server struct {
	traffic  kind // refuse, error, slow, hang or well
	sick     bool // its probes fail
	passed   int  // consecutive passes of the probes of the first instance
	inFlight map[origin]int
	says     health.Instruction // its agent
	resumed  chan struct{}      // closed when it hangs no more
}

// origin is where a request comes from, and which backend at the address it is for.
type origin struct {
	other    bool   // it comes from the other instance
	instance string // of the backend
}

// world is what the simulated backends, checks, source and storage of one run share.
// Safe for concurrent use.
type world struct {
	name    string
	mu      sync.Mutex
	servers map[string]*server
	found   []string // what the source answers
	failing bool     // the sources fail
	files   map[string][]byte
	arrived func(address string, req *http.Request, other bool) origin // at each request of a backend, without the lock
	answers func(address string, from origin)                          // likewise, when the request ends
	pushed
	store *fleettest.Memory
	links map[bool]*fleettest.Link // of the first instance, and of the other
}

var worlds sync.Map // by name

func newWorld(name string) *world {
	w := &world{name: name, servers: make(map[string]*server), files: make(map[string][]byte), pushed: newPushed(), store: fleettest.NewMemory()}
	w.links = map[bool]*fleettest.Link{false: w.store.Link(), true: w.store.Link()}
	w.links[true].Rename(name+otherPool, name)
	for i := range maxBackends {
		w.servers[address(i)] = &server{traffic: "well", inFlight: make(map[origin]int), resumed: make(chan struct{})}
	}
	worlds.Store(name, w)
	return w
}

func worldOf(name string) *world {
	w, _ := worlds.Load(name)
	return w.(*world)
}

// do calls f for a server.
func (w *world) do(address string, f func(*server)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(w.servers[address])
}

// backends returns the servers as the transport of the first or the other instance asks them.
func (w *world) backends(other bool) lbtest.Backends {
	all := make(lbtest.Backends)
	for name := range w.servers {
		all[name] = func(req *http.Request) (int, error) { return w.serve(name, req, other) }
	}
	return all
}

func (w *world) serve(name string, req *http.Request, other bool) (int, error) {
	from := w.arrived(name, req, other)
	var traffic kind
	var resumed chan struct{}
	w.do(name, func(s *server) { traffic, resumed = s.traffic, s.resumed; s.inFlight[from]++ })
	defer func() {
		w.do(name, func(s *server) { s.inFlight[from]-- })
		w.answers(name, from)
	}()
	switch traffic {
	case "refuse":
		return lbtest.Refused(req)
	case "error":
		lbtest.Wait(req.Context(), 2*time.Millisecond)
		return http.StatusServiceUnavailable, nil
	case "slow":
		lbtest.Wait(req.Context(), 251*time.Millisecond)
	case "hang":
		select {
		case <-resumed:
		case <-req.Context().Done():
		}
	default:
		lbtest.Wait(req.Context(), 3*time.Millisecond)
	}
	return http.StatusOK, nil
}

// check probes a world.
type check struct {
	healthcheck.HTTP
	World string `json:"world,omitempty"`
	Other bool   `json:"other,omitempty"`
}

func (*check) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ballast.checks.crossing", New: func() caddy.Module { return new(check) }}
}

func (c *check) Probe(_ context.Context, t healthcheck.Target) (err error) {
	worldOf(c.World).do(t.Address, func(s *server) {
		passed := s.passed + 1
		if s.sick {
			passed, err = 0, errors.New("sick")
		}
		if !c.Other {
			s.passed = passed
		}
	})
	return err
}

// agentCheck asks the agents of a world.
type agentCheck struct {
	healthcheck.Agent
	World string `json:"world,omitempty"`
}

func (*agentCheck) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ballast.checks.crossing_agent", New: func() caddy.Module { return new(agentCheck) }}
}

func (c *agentCheck) Steer(_ context.Context, t healthcheck.Target) (i health.Instruction, _ error) {
	host, _, _ := strings.Cut(t.Address, ":")
	worldOf(c.World).do(host+":1", func(s *server) { i = s.says })
	return i, nil
}

// source finds what a world has.
type source struct {
	World string `json:"world,omitempty"`
	Other bool   `json:"other,omitempty"` // two instances share no discovery
}

func (*source) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.upstreams.crossing", New: func() caddy.Module { return new(source) }}
}

var errNoAnswer = errors.New("no answer")

func (s *source) GetUpstreams(*http.Request) (ups []*reverseproxy.Upstream, _ error) {
	w := worldOf(s.World)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failing {
		return nil, errNoAnswer
	}
	for _, a := range w.found {
		ups = append(ups, &reverseproxy.Upstream{Dial: a})
	}
	return ups, nil
}

// storageModule is Caddy's storage in the memory of a world.
type storageModule struct {
	World string `json:"world,omitempty"`
}

func (*storageModule) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.storage.crossing", New: func() caddy.Module { return new(storageModule) }}
}

func (m *storageModule) CertMagicStorage() (certmagic.Storage, error) {
	return storage{worldOf(m.World)}, nil
}

type storage struct{ *world }

func (s storage) Store(_ context.Context, key string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[key] = slices.Clone(value)
	return nil
}

func (s storage) Load(_ context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if data, ok := s.files[key]; ok {
		return slices.Clone(data), nil
	}
	return nil, fs.ErrNotExist
}

func (s storage) Delete(_ context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.files, key)
	return nil
}

func (s storage) List(_ context.Context, prefix string, _ bool) (keys []string, _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.files {
		if strings.HasPrefix(key, prefix+"/") {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

func (s storage) Stat(_ context.Context, key string) (certmagic.KeyInfo, error) {
	return certmagic.KeyInfo{Key: key, IsTerminal: true, Modified: time.Now()}, nil
}

func (storage) Exists(context.Context, string) bool  { return false }
func (storage) Lock(context.Context, string) error   { return nil }
func (storage) Unlock(context.Context, string) error { return nil }

// apply has the world do an event that concerns servers; it reports false for others.
func (w *world) apply(e event) bool {
	all := func(n int, f func(*server)) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for i := range n {
			f(w.servers[address((e.backend+i)%maxBackends)])
		}
	}
	traffic := func(s *server, k kind) {
		if s.traffic == "hang" && k != "hang" {
			close(s.resumed)
			s.resumed = make(chan struct{})
		}
		s.traffic = k
	}
	says := func(f func(*health.Instruction)) { all(1, func(s *server) { f(&s.says) }) }
	admin := func(a health.Admin) { says(func(i *health.Instruction) { i.Admin = &a }) }
	switch e.kind {
	case "refuse", "error", "slow", "hang", "well":
		all(1, func(s *server) { traffic(s, e.kind) })
	case "sick":
		all(1, func(s *server) { s.sick = true })
	case "healthy":
		all(1, func(s *server) { s.sick = false })
	case "dead":
		all(1, func(s *server) { s.sick = true; traffic(s, "refuse") })
	case "alive":
		all(1, func(s *server) { s.sick = false; traffic(s, "well") })
	case "all sick":
		all(maxBackends, func(s *server) { s.sick = true })
	case "most sick":
		all(maxBackends/2+1, func(s *server) { s.sick = true })
	case "all healthy":
		all(maxBackends, func(s *server) { s.sick = false })
	case "agent drain":
		admin(health.Drain)
	case "agent maint":
		admin(health.Maint)
	case "agent ready":
		admin(health.Ready)
	case "agent up", "agent down":
		up := e.kind == "agent up"
		says(func(i *health.Instruction) { i.Up = &up })
	case "agent 0%", "agent 100%":
		weight := health.AgentWeight{Relative: true}
		if e.kind == "agent 100%" {
			weight.Value = 1
		}
		says(func(i *health.Instruction) { i.Weight = &weight })
	case "agent maxconn 0", "agent maxconn 1":
		limit := 0
		if e.kind == "agent maxconn 1" {
			limit = 1
		}
		says(func(i *health.Instruction) { i.MaxRequests = &limit })
	case "discover", "lose":
		w.mu.Lock()
		defer w.mu.Unlock()
		a := discoverable(e.backend)
		w.found = slices.DeleteFunc(slices.Clone(w.found), func(f string) bool { return f == a })
		if e.kind == "discover" {
			w.found = append(w.found, a)
		}
	case "source fails", "source works":
		w.mu.Lock()
		defer w.mu.Unlock()
		w.failing = e.kind == "source fails"
		w.wake()
	case "push", "push lose", "push drain", "push ready", "push replace":
		w.push(e.kind, pushable(e.backend))
	default:
		return false
	}
	return true
}

// discoverable returns the address of a backend that a source may find: the configuration names the
// first ones, and the last one registers itself.
func discoverable(n int) string { return address(1 + n%(maxBackends-2)) }

// pushable is discoverable for what is pushed: two addresses, so that much happens at each.
func pushable(n int) string { return address(maxBackends - 3 + n%2) }

// heal ends everything that is wrong.
func (w *world) heal() {
	for i := range maxBackends {
		for _, k := range []kind{"alive", "agent ready", "agent up", "agent 100%", "agent maxconn 0"} {
			w.apply(event{kind: k, backend: i})
		}
	}
	w.endDrains()
	w.apply(event{kind: "source works"})
}

// violation is a property that did not hold.
type violation struct {
	property string
	at       time.Duration
	what     string
}

func (v violation) String() string { return fmt.Sprintf("%s at %v: %s", v.property, v.at, v.what) }
