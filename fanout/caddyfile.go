// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
)

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	fanout [<matcher>] <pool-name>|<upstreams...> {
//		name               <name>
//		expect             <codes...>
//		quorum             all|majority|<n>
//		retries            <n>
//		backoff            <base> <max> [<jitter>]
//		timeout            <duration>
//		max_body           <size>
//		respond            first|summary
//		idempotency_header <field>
//		detach
//		max_requests       <n>
//		max_bytes          <size>
//		transport          <name> {
//			# as in reverse_proxy
//		}
//	}
//
// One word without colon or slash is a pool's name, anything else an upstream.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	h.Position = caddyfileutil.PositionOf(d)
	if err := h.unmarshalTargets(d); err != nil {
		return err
	}
	position := *d
	var sizes caddyfile.Dispenser // position of max_bytes
	err := caddyfileutil.Block(d, caddyfileutil.Options{
		"name": caddyfileutil.Valid(caddyfileutil.String(&h.Name), func() error { return caddyfileutil.CheckName(h.Name) }),
		"expect": caddyfileutil.Valid(caddyfileutil.Strings(&h.Expect), func() error {
			_, err := httpx.ParseStatusCodes("expect", h.Expect)
			return err
		}),
		"quorum":             caddyfileutil.Valid(caddyfileutil.String(&h.Quorum), h.checkWord),
		"retries":            retryCounts.Pointer(&h.Retries),
		"backoff":            h.unmarshalBackoff,
		"timeout":            caddyfileutil.Duration(&h.Timeout),
		"max_body":           bodySizes.Option(&h.MaxBody),
		"respond":            responds.Option(&h.Respond),
		"idempotency_header": caddyfileutil.Valid(caddyfileutil.String(&h.IdempotencyHeader), h.checkField),
		"detach":             caddyfileutil.Flag(&h.Detach),
		"max_requests":       requestCounts.Option(&h.MaxRequests),
		"max_bytes": func(d *caddyfile.Dispenser) error {
			sizes = *d
			return bufferSizes.Option(&h.MaxBytes)(d)
		},
		"transport": func(d *caddyfile.Dispenser) (err error) {
			h.TransportRaw, err = caddyfileutil.Module(d, "http.reverse_proxy.transport", "protocol", "transport")
			return err
		},
	})
	if err != nil {
		return err
	}
	if err := h.checkBytes(); err != nil {
		return sizes.WrapErr(err)
	}
	if q, _ := parseQuorum(h.Quorum); q.n > len(h.Upstreams) && len(h.Upstreams) > 0 && !ranged(h.Upstreams) {
		return position.Errf("quorum %d can never be reached with %d upstreams; write all, majority or at most %d", q.n, len(h.Upstreams), len(h.Upstreams))
	}
	return nil
}

// ranged reports whether an upstream may be a range of ports, which stands for several
// upstreams.
func ranged(upstreams []string) bool {
	for _, u := range upstreams {
		if i := strings.LastIndexByte(u, ':'); i >= 0 && strings.Contains(u[i:], "-") {
			return true
		}
	}
	return false
}

// unmarshalTargets parses the arguments of the directive.
func (h *Handler) unmarshalTargets(d *caddyfile.Dispenser) error {
	const write = "write fanout <pool-name>, the name of a pool of the ballast global option, or fanout <upstreams...>, such as 10.0.0.1:80 10.0.0.2:80"
	position := *d
	args := d.RemainingArgs()
	switch {
	case len(args) == 0:
		return position.Err("fanout: a pool or upstreams are missing; " + write)
	case len(args) == 1 && isName(args[0]):
		h.Pool = args[0]
		if h.Pool == "" || strings.ContainsAny(h.Pool, "{}") {
			return position.Errf("fanout: %q is not the name of a pool; %s", h.Pool, write)
		}
		return nil
	}
	for _, arg := range args {
		if isName(arg) {
			return position.Errf("fanout: %q is a pool's name, which must be alone; write it alone, or %s:80 for an upstream", arg, arg)
		}
		if env := caddyfileutil.Environment(arg); env != "" {
			return position.Errf("fanout: upstream %q: run-time placeholders are not available in an upstream; write %s, which is replaced when the Caddyfile is read", arg, env)
		}
		if strings.ContainsAny(arg, "{}") {
			return position.Errf("fanout: upstream %q: placeholders are not available in an upstream; write its address", arg)
		}
	}
	h.Upstreams = args
	return nil
}

func isName(arg string) bool { return !strings.ContainsAny(arg, ":/") }

func (h *Handler) checkWord() error {
	_, err := parseQuorum(h.Quorum)
	return err
}

func (h *Handler) checkField() error {
	_, err := checkHeader(h.IdempotencyHeader)
	return err
}

func (h *Handler) unmarshalBackoff(d *caddyfile.Dispenser) (err error) {
	position := *d
	args := d.RemainingArgs()
	if len(args) < 2 || len(args) > 3 {
		return d.Err("backoff takes two durations and an optional third; write backoff <base> <max> [<jitter>]")
	}
	if err := caddyfileutil.NoBlock(d, "backoff"); err != nil {
		return err
	}
	b := new(Backoff)
	if b.Base, err = caddyfileutil.ParseDuration("backoff's base", args[0]); err != nil {
		return position.WrapErr(err)
	}
	if b.Max, err = caddyfileutil.ParseDuration("backoff's max", args[1]); err != nil {
		return position.WrapErr(err)
	}
	if len(args) == 3 {
		b.Jitter = new(caddy.Duration)
		if *b.Jitter, err = caddyfileutil.ParseDuration("backoff's jitter", args[2]); err != nil && args[2] != "0" && args[2] != "0s" {
			return position.WrapErr(err)
		}
	}
	if _, err := b.resolve(); err != nil {
		return position.WrapErr(err)
	}
	h.Backoff = b
	return nil
}

// Interface guards
var _ caddyfile.Unmarshaler = (*Handler)(nil)
