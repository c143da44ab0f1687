// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/fleet"
	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/connections"
	"github.com/ballast-lb/caddy-ballast/internal/event"
	core "github.com/ballast-lb/caddy-ballast/internal/fleet"
	"github.com/ballast-lb/caddy-ballast/internal/names"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/poolmetrics"
	"github.com/ballast-lb/caddy-ballast/internal/report"
)

func init() { caddy.RegisterModule(new(App)) }

// App holds the pools that proxies share, and runs all pools of a configuration. Probes and
// discovery begin when the app starts and end when it stops, so that validating a configuration
// sends no probes.
//
// It emits events, whose data has the pool. Of a backend, with backend (its id), address and reason: backend_up,
// backend_down, backend_ejected, backend_returned, backend_added, backend_changed, backend_removed and
// backend_streams_closed. Of a pool, with reason: pool_panic_on, pool_panic_off, pool_guard_on, pool_guard_off,
// fleet_isolated and fleet_rejoined. Of the rollout of a group, with group and share: rollout_step, rollout_waiting,
// rollout_promoted, rollout_aborted, rollout_paused, rollout_resumed and rollout_restarted. Of a fleet, without a
// pool: fleet_joined, fleet_left, fleet_store_lost and fleet_store_returned.
type App struct {
	// Pools are the pools that proxies may use, by name.
	Pools map[string]*Config `json:"pools,omitempty"`
	// Metrics sets the Prometheus series of each backend, for all pools: full, or basic for a
	// third of the series, without times, probes and the factors of the weight. Default: full.
	Metrics string `json:"metrics,omitempty"`
	// FleetConfig makes this instance of Caddy a member of a fleet, whose instances share sessions,
	// run-time changes and limits. Default: none.
	FleetConfig *fleet.Config `json:"fleet,omitempty"`
	Persistence

	// Set by Provision, then read-only.
	ctx      caddy.Context
	logger   *zap.Logger
	executor event.Executor
	emit     func(event string, data map[string]any)

	mu         sync.Mutex // guards the fields below
	pools      map[string]*Pool
	shared     map[string]bool // the names in Pools
	required   map[string]bool // names of pools that registrations need
	duplicates map[backend.StateKey]*duplicate
}

// metricsBasic selects the basic series only. metricsWords are all values of the option.
const metricsBasic = "basic"

var metricsWords = caddyfileutil.Words{"full", metricsBasic}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ballast", New: func() caddy.Module { return new(App) }}
}

// Provision creates the pools.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx, a.logger = ctx, ctx.Logger()
	a.pools, a.shared, a.duplicates = make(map[string]*Pool), make(map[string]bool), make(map[backend.StateKey]*duplicate)
	if err := metricsWords.Check("metrics", a.Metrics); err != nil {
		return err
	}
	a.openSaved()
	events, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("getting events app: %w", err)
	}
	a.emit = func(name string, data map[string]any) { events.(*caddyevents.App).Emit(ctx, name, data) }
	if err := a.FleetConfig.Provision(ctx, a.logger, a.publish); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(a.Pools)) {
		if err := names.CheckPoolName(name); err != nil { // add takes an empty one for that of a proxy's own pool
			return err
		}
		if _, err := a.add(ctx, name, a.Pools[name]); err != nil {
			return err
		}
		a.shared[name] = true
	}
	return poolmetrics.Register(ctx.GetMetricsRegistry())
}

// add creates a pool from cfg. A pool without a name is named after its first backend, and the
// state of its backends is identified by their addresses and the checks.
func (a *App) add(ctx caddy.Context, name string, cfg *Config) (*Pool, error) {
	if cfg == nil { // null in JSON
		cfg = new(Config)
	}
	named := name != ""
	if named {
		if err := names.CheckPoolName(name); err != nil {
			return nil, err
		}
	} else {
		name = generatedName(cfg)
	}
	a.mu.Lock()
	for unique, n := name, 2; !named; n++ {
		if a.pools[unique] == nil {
			name = unique
			break
		}
		unique = fmt.Sprintf("%s-%d", name, n)
	}
	if a.pools[name] != nil {
		a.mu.Unlock()
		return nil, fmt.Errorf("pool %q is defined twice; define it once, in the ballast global option, and write `dynamic pool %s` without a block", name, name)
	}
	p := &Pool{Pool: pool.NewPool(name), app: a}
	p.Unnamed, p.BasicMetrics = !named, a.Metrics == metricsBasic
	a.pools[name] = p
	a.mu.Unlock()
	// Cleanup of the app releases a pool whose provisioning fails.
	if err := p.provision(ctx, cfg); err != nil {
		return nil, fmt.Errorf("pool %s: %w", name, err)
	}
	return p, nil
}

// generatedName returns the name of a pool without one. It has a colon, which no configured name has, so that the two
// never collide.
func generatedName(cfg *Config) string {
	if len(cfg.Backends) == 0 || cfg.Backends[0] == nil {
		return "inline:"
	}
	name := "inline-" + strings.NewReplacer("unix/", "unix:", "/", "_", "{", "_", "}", "_").Replace(cfg.Backends[0].Dial)
	if !strings.Contains(name, ":") {
		name += ":"
	}
	return name
}

// FindPool implements [connections.Provider].
func (a *App) FindPool(name string) (*pool.Pool, func(context.Context), error) {
	p, err := a.find(name, "")
	if err != nil {
		return nil, nil, err
	}
	return p.Pool, p.awaitFleet, nil
}

// find returns a pool of the ballast global option. otherwise is what else the caller may have.
func (a *App) find(name, otherwise string) (*Pool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.shared[name] {
		return a.pools[name], nil
	}
	if len(a.shared) == 0 {
		return nil, fmt.Errorf("there is no pool %q, since the ballast global option defines none; define it there%s", name, otherwise)
	}
	return nil, fmt.Errorf("there is no pool %q in the ballast global option; write one of: %s",
		name, strings.Join(slices.Sorted(maps.Keys(a.shared)), ", "))
}

// firstAnswers bounds how long Start waits for the first answers of new sources, so that the
// first requests find backends.
const firstAnswers = time.Second

// Start begins probing and discovery.
func (a *App) Start() error {
	pools := a.all()
	report.StartFleet(a.Fleet())
	report.StartHistory(a)
	for _, p := range pools {
		p.start()
	}
	a.FleetConfig.Start() // after the pools have joined it, so that Await waits for what it has of them
	a.saved.Start()
	a.warnOfEmpty(pools)
	patience, cancel := context.WithTimeout(a.ctx, firstAnswers)
	defer cancel()
	for _, p := range pools {
		p.await(patience.Done())
	}
	return nil
}

// warnOfEmpty warns of pools without backends that may be a mistake: pools of a single proxy,
// with which no backend can register, and whose run-time changes are lost when the process
// ends.
func (a *App) warnOfEmpty(pools []*Pool) {
	if a.Persist {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range pools {
		if !a.shared[p.Name] && !a.required[p.Name] && len(p.sources) == 0 && len(p.View().Members.All) == 0 {
			a.logger.Warn("the pool has no backends; add them at run time, or write `to`, `backend` or `from`", zap.String("pool", p.Name))
		}
	}
}

// Stop ends probing and discovery, and waits until they have ended.
func (a *App) Stop() error {
	a.saved.Stop()
	for _, p := range a.all() {
		p.stop()
	}
	a.FleetConfig.Stop()
	report.StopFleet(a.Fleet())
	report.StopHistory(a)
	return nil
}

// Cleanup releases the references of the pools and of the app.
func (a *App) Cleanup() error {
	for _, p := range a.all() {
		p.release()
	}
	a.FleetConfig.Close()
	a.saved.Close()
	return nil
}

// Fleet returns the fleet of the configuration, or nil if it has none.
func (a *App) Fleet() *core.Fleet { return a.FleetConfig.Fleet() }

func (a *App) all() []*Pool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Collect(maps.Values(a.pools))
}

// UnmarshalCaddyfile sets up the app from the global option. Syntax:
//
//	ballast {
//		pool <name> {
//			# as in `dynamic pool`
//		}
//		persist
//		metrics full|basic
//		fleet {
//			# see fleet.Config
//		}
//	}
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume option name
	return caddyfileutil.Block(d, caddyfileutil.Options{
		"persist": caddyfileutil.Flag(&a.Persist),
		"metrics": metricsWords.Option(&a.Metrics),
		"fleet": func(d *caddyfile.Dispenser) error {
			a.FleetConfig = new(fleet.Config)
			return a.FleetConfig.UnmarshalCaddyfile(d)
		},
		caddyfileutil.Repeat("pool"): func(d *caddyfile.Dispenser) error {
			if !d.NextArg() {
				return d.Err("pool: the name is missing; write pool <name> { ... }")
			}
			name := d.Val()
			if err := names.CheckPoolName(name); err != nil {
				return d.WrapErr(err)
			}
			if a.Pools[name] != nil {
				return d.Errf("pool %q is defined twice; names must differ", name)
			}
			cfg := new(Config)
			if a.Pools == nil {
				a.Pools = make(map[string]*Config)
			}
			a.Pools[name] = cfg
			return cfg.unmarshal(d)
		},
	}.Hint(appWords))
}

// Interface guards
var (
	_ caddy.App             = (*App)(nil)
	_ caddy.Provisioner     = (*App)(nil)
	_ caddy.CleanerUpper    = (*App)(nil)
	_ caddyfile.Unmarshaler = (*App)(nil)
	_ core.Provider         = (*App)(nil)
	_ connections.Provider  = (*App)(nil)
)
