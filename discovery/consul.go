// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
)

func init() { caddy.RegisterModule(new(Consul)) }

// Consul discovers the instances of a service in Consul's catalog, with blocking queries of its health API. It leaves out
// instances with a critical check, and drains those in maintenance mode. The weight of a backend is the passing weight
// of the service in Consul, or the warning weight while a check warns.
type Consul struct {
	// Service is the name of the service. Required.
	Service string `json:"service,omitempty"`
	// Address is the URL of a Consul agent. Default: CONSUL_HTTP_ADDR in the environment, or else
	// http://127.0.0.1:8500.
	Address string `json:"address,omitempty"`
	// Token is an ACL token with service:read and node:read. It may be a placeholder such as
	// {env.CONSUL_TOKEN} or {file./run/secrets/consul}, which is replaced at each start of the
	// watch. Default: CONSUL_HTTP_TOKEN in the environment.
	Token string `json:"token,omitempty"`
	// Tag is a tag that the instances must have. Default: any.
	Tag string `json:"tag,omitempty"`
	// Datacenter is the datacenter of the service. Default: that of the agent.
	Datacenter string `json:"datacenter,omitempty"`
	// Passing leaves out instances with a check that warns. Default: false.
	Passing bool `json:"passing,omitempty"`
}

const (
	consulAddress = "http://127.0.0.1:8500"
	// consulWait is how long a blocking query waits. The agent adds up to a sixteenth.
	consulWait = 5 * time.Minute
	// consulPause is the least time between two queries, so that a service that changes all the
	// time does not keep the agent busy.
	consulPause = 100 * time.Millisecond
)

// CaddyModule returns the Caddy module information.
func (*Consul) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".consul", New: func() caddy.Module { return new(Consul) }}
}

// Provision sets the defaults.
func (c *Consul) Provision(caddy.Context) error {
	if err := c.checkService(); err != nil {
		return err
	}
	c.Address = cmp.Or(c.Address, os.Getenv("CONSUL_HTTP_ADDR"), consulAddress)
	if !strings.Contains(c.Address, "://") {
		c.Address = "http://" + c.Address
	}
	return checkAPI("address", c.Address)
}

func (c *Consul) checkService() error {
	switch {
	case c.Service == "":
		return errors.New("from consul: the service is missing; write from consul <service>")
	case strings.ContainsAny(c.Service, " /"):
		return fmt.Errorf("from consul must have the name of a service, got %q", c.Service)
	}
	return nil
}

// Watch implements [Source].
func (c *Consul) Watch(ctx context.Context, update func(Update)) error {
	api, err := newClient(c.Address, nil)
	if err != nil {
		return err
	}
	defer api.close()
	if token := cmp.Or(caddy.NewReplacer().ReplaceAll(c.Token, ""), os.Getenv("CONSUL_HTTP_TOKEN")); token != "" {
		api.field = func() (string, string, error) { return "X-Consul-Token", token, nil }
	}
	var index uint64
	for {
		wait := time.Duration(0)
		query := url.Values{}
		if index > 0 {
			wait = consulWait
			query.Set("index", strconv.FormatUint(index, 10))
			query.Set("wait", strconv.Itoa(int(wait.Seconds()))+"s")
			wait += wait / 16
		}
		for name, value := range map[string]string{"tag": c.Tag, "dc": c.Datacenter} {
			if value != "" {
				query.Set(name, value)
			}
		}
		var services []consulService
		header, err := api.getJSON(ctx, "/v1/health/service/"+c.Service, query, wait, &services)
		if err != nil {
			return err
		}
		next, _ := strconv.ParseUint(header.Get("X-Consul-Index"), 10, 64)
		if next != index || index == 0 {
			update(c.endpoints(services))
		}
		if next < index { // it was reset: ask without it
			next = 0
		}
		index = next
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(consulPause):
		}
	}
}

// consulService is an instance of a service, as the health API lists it.
type consulService struct {
	Node struct {
		Node, Address, Datacenter string
	}
	Service struct {
		ID, Address string
		Port        int
		Meta        map[string]string
		Weights     *struct{ Passing, Warning int }
	}
	Checks []struct{ CheckID, Status string }
}

// endpoints returns the backends of the instances. Their options may also be in the metadata of the
// service, with the prefix ballast. or, as keys of metadata have no dots, ballast_.
func (c *Consul) endpoints(services []consulService) (u Update) {
	ids := make(map[string]int)
	for _, s := range services {
		ids[s.Service.ID]++
	}
	for _, s := range services {
		e := Endpoint{Address: net.JoinHostPort(cmp.Or(s.Service.Address, s.Node.Address), strconv.Itoa(s.Service.Port))}
		if e.ID = s.Service.ID; ids[e.ID] > 1 { // unique on each node only
			e.ID = s.Node.Node + "/" + e.ID
		}
		warning, critical := false, false
		for _, check := range s.Checks {
			switch {
			case check.CheckID == "_node_maintenance", strings.HasPrefix(check.CheckID, "_service_maintenance"):
				e.Draining = true
			case check.Status == "warning":
				warning = true
			case check.Status != "passing":
				critical = true
			}
		}
		if critical || warning && c.Passing {
			continue
		}
		if w := s.Service.Weights; w != nil {
			n := w.Passing
			if warning {
				n = w.Warning
			}
			e.Weight = &n
		}
		if err := e.labels(s.Service.Meta, "ballast_"); err != nil {
			u.ignore(e.ID, err)
			continue
		}
		if s.Service.Port == 0 {
			u.ignore(e.ID, errors.New("it has no port"))
			continue
		}
		u.Endpoints = append(u.Endpoints, e)
	}
	return u
}

// UnmarshalCaddyfile sets up the source from Caddyfile tokens. Syntax:
//
//	from consul <service> {
//		address <url>
//		token <text>
//		tag <tag>
//		datacenter <name>
//		passing
//	}
func (c *Consul) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	caddyfileutil.Head(d, &c.Service)
	if err := c.checkService(); err != nil {
		return d.WrapErr(err)
	}
	if err := caddyfileutil.CheckFixed(d, "from consul", c.Service); err != nil {
		return err
	}
	return caddyfileutil.Block(d, caddyfileutil.Options{
		"address":    api("address", &c.Address),
		"token":      caddyfileutil.Replaced(&c.Token),
		"tag":        caddyfileutil.String(&c.Tag),
		"datacenter": caddyfileutil.String(&c.Datacenter),
		"passing":    caddyfileutil.Flag(&c.Passing),
	})
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Consul)(nil)
	_ caddyfile.Unmarshaler = (*Consul)(nil)
	_ Source                = (*Consul)(nil)
)
