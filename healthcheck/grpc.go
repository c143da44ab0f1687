// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"context"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"google.golang.org/grpc"
	grpccodes "google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/httptransport"
)

func init() { caddy.RegisterModule(new(GRPC)) }

// GRPC is a health check with the gRPC health checking protocol: one call of Check of the
// backend's grpc.health.v1.Health, on its own connection. It uses TLS if the proxy does, else
// HTTP/2 without TLS.
type GRPC struct {
	Schedule

	// Service is the name of the service to check. Default: none, which is the backend as a
	// whole.
	Service string `json:"service,omitempty"`
	// TLS enables TLS where the proxy uses none, disables it where the proxy uses it, and
	// sets TLS options. Default: as the proxy.
	TLS *TLS `json:"tls,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*GRPC) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".grpc", New: func() caddy.Module { return new(GRPC) }}
}

// Provision sets up the check.
func (c *GRPC) Provision(ctx caddy.Context) error {
	if err := c.Schedule.Provision(ctx); err != nil {
		return err
	}
	if err := c.parse(); err != nil {
		return err
	}
	return c.TLS.load()
}

// parse validates the options.
func (c *GRPC) parse() error {
	inNone := func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }
	if strings.ContainsFunc(c.Service, inNone) || !utf8.ValidString(c.Service) {
		return fmt.Errorf("service must be a name such as shop.v1.Orders, got %q", c.Service)
	}
	return nil
}

// Probe implements [Check].
func (c *GRPC) Probe(ctx context.Context, t Target) error {
	client, done, err := t.dialGRPC(ctx, c.TLS, maxRead)
	if err != nil {
		return err
	}
	defer done()
	err = c.ask(ctx, client)
	if ctx.Err() != nil {
		return ctx.Err() // not the error that closing the connection caused
	}
	return err
}

// Inherits implements [Inheriting].
func (c *GRPC) Inherits(t *httptransport.Transport) ([]string, error) {
	return append(c.DialOptions(), c.TLS.inherits()...), c.TLS.usable(t, "grpc")
}

// ask makes the call on an open connection.
func (c *GRPC) ask(ctx context.Context, client *grpc.ClientConn) error {
	// The call has no deadline, and ends with ctx. With a deadline, the backend would reset the
	// stream at the same moment, and the error would depend on which end is first.
	call, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	res, err := grpc_health_v1.NewHealthClient(client).Check(call, &grpc_health_v1.HealthCheckRequest{Service: c.Service})
	if err != nil {
		return c.explain(status.Convert(err))
	}
	if got := res.GetStatus(); got != grpc_health_v1.HealthCheckResponse_SERVING {
		return fmt.Errorf("%s is %s", c.subject(), got)
	}
	return nil
}

// subject names the checked service in errors.
func (c *GRPC) subject() string {
	if c.Service == "" {
		return "the backend"
	}
	return fmt.Sprintf("service %q", c.Service)
}

// explain returns the meaning of a failed call for the health check.
func (c *GRPC) explain(s *status.Status) error {
	switch s.Code() {
	case grpccodes.NotFound:
		return fmt.Errorf("unknown service %q: %s", c.Service, s.Message())
	case grpccodes.Unimplemented:
		return fmt.Errorf("the backend has no grpc.health.v1 service: %s", s.Message())
	}
	return fmt.Errorf("%s: %s", s.Code(), s.Message())
}

// UnmarshalCaddyfile sets up the check from Caddyfile tokens. Syntax:
//
//	health grpc [<service>] {
//		service <name>
//		tls off|{
//			# as for http
//		}
//		# and the options of every check, as for http
//	}
func (c *GRPC) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	caddyfileutil.Head(d, &c.Service)
	if err := c.parse(); err != nil {
		return d.WrapErr(err)
	}
	if err := caddyfileutil.CheckFixed(d, "service", c.Service); err != nil {
		return err
	}
	opts := c.Options()
	opts["service"] = func(d *caddyfile.Dispenser) error {
		if c.Service != "" {
			return d.Err("service is given twice; write it once, behind `health grpc` or in the block")
		}
		return caddyfileutil.Valid(caddyfileutil.String(&c.Service), c.parse)(d)
	}
	opts["tls"] = TLSOption(&c.TLS)
	return caddyfileutil.Block(d, opts)
}

// Interface guards
var (
	_ Inheriting            = (*GRPC)(nil)
	_ caddy.Provisioner     = (*GRPC)(nil)
	_ caddyfile.Unmarshaler = (*GRPC)(nil)
)
