// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package lbtest

import (
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// Config is the configuration of a proxy.
type Config struct {
	ctx    caddy.Context
	app    caddy.App // the ballast app, started; nil for none
	cancel func()
	closed sync.Once
	logID  string
}

var loaded atomic.Int64 // numbers the configurations

// Load provisions one reverse_proxy from config in a configuration with the given apps, and
// starts the ballast app. Several configurations may be loaded at a time, as during a reload.
// apps may contain the "storage" of the configuration; by default it is empty.
func Load(t testing.TB, apps caddy.ModuleMap, config string, backends Backends) (*Proxy, error) {
	t.Helper()
	proxies, err := LoadAll(t, apps, backends, config)
	if err != nil {
		return nil, err
	}
	return proxies[0], nil
}

// LoadAll is [Load] for several proxies in one configuration.
func LoadAll(t testing.TB, apps caddy.ModuleMap, backends Backends, configs ...string) (proxies []*Proxy, err error) {
	t.Helper()
	c, err := LoadConfig(t, apps, backends, func(ctx caddy.Context) error {
		for _, config := range configs {
			mod, err := ctx.LoadModuleByID("http.handlers.reverse_proxy", json.RawMessage(config))
			if err != nil {
				return err
			}
			proxies = append(proxies, &Proxy{Handler: mod.(*reverseproxy.Handler)})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, p := range proxies {
		p.Config = c
	}
	return proxies, nil
}

// LoadConfig is [Load] for the modules that the function load loads.
func LoadConfig(t testing.TB, apps caddy.ModuleMap, backends Backends, load func(caddy.Context) error) (_ *Config, err error) {
	t.Helper()
	logID := fmt.Sprint(t.Name(), " ", loaded.Add(1))
	storage := apps["storage"]
	if storage == nil {
		storage = json.RawMessage(`{"module":"file_system","root":"` + t.TempDir() + `"}`)
	}
	base, err := caddy.ProvisionContext(&caddy.Config{
		Admin:      &caddy.AdminConfig{Disabled: true},
		Logging:    logging(logID),
		StorageRaw: storage,
	})
	if err != nil {
		return nil, err
	}
	base = base.WithValue(backendsKey{}, backends)
	ctx, cancel := caddy.NewContext(base)
	c := &Config{ctx: ctx, cancel: cancel, logID: logID}
	t.Cleanup(c.Close)
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	for id, raw := range apps {
		if id == "storage" {
			continue
		}
		if _, err := ctx.LoadModuleByID(id, raw); err != nil {
			return nil, err
		}
	}
	if err := load(ctx); err != nil {
		return nil, err
	}
	if app, err := ctx.AppIfConfigured("ballast"); err == nil {
		c.app = app.(caddy.App)
		if err := c.app.Start(); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Close stops the configuration as Caddy does: first the apps, then all modules are cleaned up.
// It is called at the end of the test, and may be called earlier, from any goroutine.
func (c *Config) Close() {
	c.closed.Do(func() {
		if c.app != nil {
			_ = c.app.Stop()
		}
		c.cancel()
	})
}

// Context returns the configuration's context.
func (c *Config) Context() caddy.Context { return c.ctx }
