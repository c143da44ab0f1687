// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/fleet"
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
	"github.com/ballast-lb/caddy-ballast/internal/names"
	"github.com/ballast-lb/caddy-ballast/internal/shared"
)

// Namespace is the namespace of the modules of stores, and InlineKey the JSON key with the name of the module.
const (
	Namespace = "ballast.fleet"
	InlineKey = "module"
)

// Config makes this instance of Caddy a member of a fleet: instances that share a store. They share the sessions of
// sticky, registrations, run-time changes and drains, and divide the limits that are set for the fleet. Requests do not
// wait for the store, except as Wait configures at the start. If the store fails, the instance continues with the
// records that it has.
type Config struct {
	// ID is the name of this instance in the fleet, in the admin API and in logs: readable text of at
	// most 91 bytes. It need not be unique; each process adds random digits. Default: the host name.
	ID string `json:"id,omitempty"`
	// Zone is the zone of this instance, to be compared with the zones of backends: readable text of at
	// most 91 bytes. Default: none.
	Zone string `json:"zone,omitempty"`
	// Heartbeat is the interval at which the instance reports to the store that it lives, from 100ms to
	// 1m. An instance that misses three heartbeats counts as dead. All instances should have the same
	// heartbeat. Default: 1s.
	Heartbeat caddy.Duration `json:"heartbeat,omitempty"`
	// Wait is the longest time, after the start of the process, that requests to a pool wait until
	// the instance has read all records of the store, from 1ms to 1m. Without it, they do not wait.
	// Default: none.
	Wait caddy.Duration `json:"wait,omitempty"`
	// StoreRaw is the store that the instances share. Required.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=ballast.fleet inline_key=module"`
	// Position is the file and line of the option in the Caddyfile, for errors. The Caddyfile
	// adapter sets it.
	Position caddyfileutil.Position `json:"position,omitempty"`

	// Set by Provision, then read-only.
	fleet *fleet.Fleet
	user  *fleet.User
	refs  shared.Refs
	leave func() // removes the fleet from the metrics; nil before it was added
}

const defaultHeartbeat = time.Second

// Bounds of options.
var (
	heartbeats = caddyfileutil.Durations{Min: 100 * time.Millisecond, Max: time.Minute}
	waits      = caddyfileutil.Durations{Min: time.Millisecond, Max: time.Minute}
)

// checkText returns an error if the text of an option is too long, or not readable.
func checkText(option, text string) error {
	if text == "" {
		return nil
	}
	if len(text) > fleet.MaxInstanceName || !names.Readable(text) || strings.TrimSpace(text) != text || strings.ContainsAny(text, "{}") {
		return fmt.Errorf("%s must be readable text of at most %d bytes without braces and white space around it, got %q", option, fleet.MaxInstanceName, text)
	}
	return nil
}

func (c *Config) checkID() error   { return checkText("id", c.ID) }
func (c *Config) checkZone() error { return checkText("zone", c.Zone) }

var errNoStore = errors.New("fleet needs a store; write `store caddy`, or `store redis <address>` in a Caddy with Ballast's redisstore")

// errNoRedis is the error if the store on Redis, which is a separate Go module, is not built into Caddy.
var errNoRedis = errors.New("store redis is not in this Caddy; build one with `--with github.com/ballast-lb/caddy-ballast/redisstore` beside Ballast")

const redisStore = Namespace + ".redis"

// checkRedis returns errNoRedis if the store on Redis is configured but not built into Caddy.
func checkRedis(store json.RawMessage) error {
	var named struct {
		Module string `json:"module"`
	}
	if json.Unmarshal(store, &named) == nil && Namespace+"."+named.Module == redisStore {
		return findRedis()
	}
	return nil
}

func findRedis() error {
	if _, err := caddy.GetModule(redisStore); err != nil {
		return errNoRedis
	}
	return nil
}

// Identified is implemented by a store that its configuration does not identify.
type Identified interface {
	// Identity returns a text that differs between stores with equal configurations.
	Identity() string
}

// Provision loads the store, but does not use it before Start. emit emits an event, and must not block. It does nothing
// for a nil Config.
func (c *Config) Provision(ctx caddy.Context, logger *zap.Logger, emit func(event string, data map[string]any)) error {
	if c == nil {
		return nil
	}
	if err := c.provision(ctx, logger, emit); err != nil {
		return c.Position.Wrap(fmt.Errorf("fleet: %w", err))
	}
	return nil
}

func (c *Config) provision(ctx caddy.Context, logger *zap.Logger, emit func(event string, data map[string]any)) error {
	if err := cmp.Or(c.checkID(), c.checkZone(), heartbeats.Check("heartbeat", c.Heartbeat), waits.Check("wait", c.Wait)); err != nil {
		return err
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = caddy.Duration(defaultHeartbeat)
	}
	if c.StoreRaw == nil {
		return errNoStore
	}
	if err := checkRedis(c.StoreRaw); err != nil {
		return err
	}
	if err := httpx.DecodeGuest(c.StoreRaw, Namespace, InlineKey); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	identity := string(c.StoreRaw)
	mod, err := ctx.LoadModule(c, "StoreRaw")
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	store, ok := mod.(fleet.Store)
	if !ok {
		return fmt.Errorf("store: %T is no fleet.Store", mod)
	}
	if i, ok := mod.(Identified); ok {
		identity += i.Identity()
	}
	name := c.ID
	if name == "" {
		if name, _ = os.Hostname(); name == "" {
			name = "caddy"
		}
	}
	c.fleet = fleet.Open(&c.refs, name, identity)
	c.user = &fleet.User{
		Store: store, Zone: c.Zone, Version: versions(), Heartbeat: time.Duration(c.Heartbeat), Wait: time.Duration(c.Wait),
		Logger: logger, Emit: emit,
	}
	c.leave, err = fleets.Add(ctx.GetMetricsRegistry(), c.fleet)
	return err
}

// Fleet returns the fleet; nil for a nil Config.
func (c *Config) Fleet() *fleet.Fleet {
	if c == nil {
		return nil
	}
	return c.fleet
}

// Start makes the instance join the fleet, unless an earlier configuration has. It does not block.
func (c *Config) Start() {
	if c != nil {
		c.fleet.Start(c.user)
	}
}

// Stop makes the instance leave the fleet, unless another configuration still uses it.
func (c *Config) Stop() {
	if c != nil {
		c.fleet.Stop(c.user)
	}
}

// Close releases what Provision has acquired. It may be called after Provision has failed.
func (c *Config) Close() {
	if c == nil {
		return
	}
	if c.leave != nil {
		c.leave()
	}
	c.refs.Release()
}

// Await waits until the instance has read all records of the store, for at most Wait, or until ctx ends. It may be
// called before Start, since Caddy starts apps in any order.
func (c *Config) Await(ctx context.Context) {
	if c == nil || c.Wait == 0 {
		return
	}
	select {
	case <-c.fleet.Synced():
		return
	default:
	}
	timer := time.NewTimer(time.Duration(c.Wait))
	defer timer.Stop()
	select {
	case <-c.fleet.Synced():
	case <-timer.C:
	case <-ctx.Done():
	}
}
