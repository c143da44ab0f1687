// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook"
)

// Namespace is the namespace of check modules, and InlineKey the key of their
// name in JSON.
const (
	Namespace = "ballast.checks"
	InlineKey = "check"
)

// Check is a kind of health check. Implementations are guest modules that
// embed [Schedule], here or in a module of another repository; package healthchecktest
// tests them.
type Check interface {
	// Probe reports why the target is not healthy, or nil. It must return when
	// ctx ends, and may be called for many targets at once.
	Probe(ctx context.Context, t Target) error
	// Timing returns when to probe and what the results amount to.
	Timing() *Schedule
}

// AgentCheck is a check that asks the backend what it wants, instead of judging
// it. Its word counts at once, and its silence for nothing: Probe is not called,
// and passes and fails are not counted.
type AgentCheck interface {
	Check
	// Steer returns what the backend asks for. It has the duties of Probe.
	Steer(ctx context.Context, t Target) (Instruction, error)
}

// Target is what a check probes.
type Target struct {
	// Network and Address are what to dial, as for [net.Dial].
	Network, Address string
	// Host is the host part of the address, for names; "localhost" for a unix
	// socket.
	Host string
	// Scheme is what the backend's address was written with: "http", "https",
	// "h2c" or "".
	Scheme string

	transport *proxyhook.Transport // of the proxy, or nil
	elsewhere bool                 // at a port other than the backend's
	backend   *backend.Backend     // whose addresses may be known, or nil
}

// Of returns the target as one of a backend, whose host name may have been looked
// up in advance.
func (t Target) Of(b *backend.Backend) Target {
	t.backend = b
	return t
}

// Through returns the target as the proxy with a transport, which may be nil,
// reaches it.
func (t Target) Through(transport *proxyhook.Transport) Target {
	t.transport = transport
	return t
}

// NewTarget returns the target of a check on the backend at a dial address,
// which must be valid, with another port unless port is 0.
func NewTarget(address, scheme string, port int) Target {
	na, _ := caddy.ParseNetworkAddress(address)
	if na.IsUnixNetwork() {
		return Target{Network: na.Network, Address: na.JoinHostPort(0), Host: "localhost", Scheme: scheme}
	}
	if port != 0 {
		na.StartPort, na.EndPort = uint(port), uint(port)
	}
	return Target{Network: na.Network, Address: na.JoinHostPort(0), Host: na.Host, Scheme: scheme, elsewhere: port != 0}
}

// Schedule is when a check probes a backend, and how many results make a
// verdict. It is the base of every check: a type that embeds it, and has the methods
// Probe and CaddyModule, is one. A check with options of its own adds them to those of
// Options in an UnmarshalCaddyfile of its own; a check with a Provision of its own calls
// that of the Schedule first.
type Schedule struct {
	// Interval is the time between the starts of two probes of a backend, at least
	// 10ms. Default: 2s.
	Interval caddy.Duration `json:"interval,omitempty"`
	// Timeout is the longest that a probe may take, from dialing to the last
	// byte it needs; then it fails. Default: 1s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
	// Passes is how many consecutive passes bring a backend that is down up.
	// Default: 2.
	Passes int `json:"passes,omitempty"`
	// Fails is how many consecutive failures take a backend that is up down.
	// Default: 3.
	Fails int `json:"fails,omitempty"`
	// DownInterval replaces the interval while a backend is down. Default:
	// the interval.
	DownInterval caddy.Duration `json:"down_interval,omitempty"`
	// EdgeInterval replaces the interval while results contradict the state
	// but do not yet change it. Default: the interval.
	EdgeInterval caddy.Duration `json:"edge_interval,omitempty"`
	// Jitter makes each interval longer or shorter by up to this share of it,
	// at random, so that probes spread. From 0 to 1. Default: 0.1.
	Jitter *float64 `json:"jitter,omitempty"`
	// Initial is the state of a backend before the first verdict: "up" or
	// "down". Default: "up".
	Initial string `json:"initial,omitempty"`
	// Port is probed instead of the backend's own. Default: the backend's.
	Port int `json:"port,omitempty"`
}

const defaultJitter = 0.1

// intervals are the times between probes: more often than that, a check is a load test.
var intervals = caddyfileutil.Durations{Min: 10 * time.Millisecond, Max: caddyfileutil.Year}

// Timing implements [CheckReport].
func (s *Schedule) Timing() *Schedule { return s }

// Provision sets defaults, and returns an error for a field that is out of bounds. It may
// be called again.
func (s *Schedule) Provision(caddy.Context) error {
	for _, err := range []error{
		intervals.Check("interval", s.Interval), caddyfileutil.CheckDuration("timeout", s.Timeout),
		intervals.Check("down_interval", s.DownInterval), intervals.Check("edge_interval", s.EdgeInterval),
	} {
		if err != nil {
			return err
		}
	}
	setDefault(&s.Interval, caddy.Duration(2*time.Second))
	setDefault(&s.Timeout, caddy.Duration(time.Second))
	setDefault(&s.DownInterval, s.Interval)
	setDefault(&s.EdgeInterval, s.Interval)
	setDefault(&s.Passes, 2)
	setDefault(&s.Fails, 3)
	setDefault(&s.Initial, "up")
	if s.Jitter == nil {
		jitter := defaultJitter
		s.Jitter = &jitter
	}
	switch {
	case s.Passes < 1:
		return fmt.Errorf("passes must be at least 1, got %d", s.Passes)
	case s.Fails < 1:
		return fmt.Errorf("fails must be at least 1, got %d", s.Fails)
	case !(*s.Jitter >= 0 && *s.Jitter <= 1):
		return fmt.Errorf("jitter must be from 0 to 1, got %v", *s.Jitter)
	case s.Initial != "up" && s.Initial != "down":
		return fmt.Errorf("initial must be up or down, got %q", s.Initial)
	case s.Port < 0 || s.Port > 65535:
		return fmt.Errorf("port must be from 1 to 65535, got %d", s.Port)
	}
	return nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Options are the options of a block in a Caddyfile. Each parses its arguments, with the
// dispenser at its name. Parse parses the block.
type Options = caddyfileutil.Options

// Options returns the options of every check, for a check to add its own. They set the
// fields of s.
func (s *Schedule) Options() Options {
	return Options{
		"interval":      intervals.Option(&s.Interval),
		"timeout":       caddyfileutil.Duration(&s.Timeout),
		"passes":        caddyfileutil.Int(&s.Passes, 1, math.MaxInt),
		"fails":         caddyfileutil.Int(&s.Fails, 1, math.MaxInt),
		"down_interval": intervals.Option(&s.DownInterval),
		"edge_interval": intervals.Option(&s.EdgeInterval),
		"jitter":        caddyfileutil.Ratio(&s.Jitter),
		"initial":       caddyfileutil.Enum(&s.Initial, "up", "down"),
		"port":          caddyfileutil.Int(&s.Port, 1, 65535),
	}.Hint(checkWords)
}

// UnmarshalCaddyfile sets up a check without options of its own from Caddyfile tokens.
// Syntax:
//
//	health <name> {
//		interval      <duration>
//		timeout       <duration>
//		passes        <n>
//		fails         <n>
//		down_interval <duration>
//		edge_interval <duration>
//		jitter        <ratio>
//		initial       up|down
//		port          <n>
//	}
func (s *Schedule) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	caddyfileutil.Head(d)
	return s.Options().Parse(d)
}

// after returns how long to wait between the starts of two probes of a
// backend with the given verdict; random is from 0 to 1.
func (s *Schedule) after(v *health.Status, random float64) time.Duration {
	d := s.Interval
	switch {
	case v.Pending():
		d = s.EdgeInterval
	case !v.Up():
		d = s.DownInterval
	}
	return time.Duration(float64(d) * (1 + *s.Jitter*(2*random-1)))
}

// Identity returns what tells a check from others on the same backend: its
// JSON without the schedule. A check whose schedule changes keeps its verdicts.
func Identity(check json.RawMessage) (string, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(check, &fields); err != nil {
		return "", err
	}
	for _, name := range []string{"interval", "timeout", "passes", "fails", "down_interval", "edge_interval", "jitter", "initial"} {
		delete(fields, name)
	}
	identity, err := json.Marshal(fields) // sorts the keys
	return string(identity), err
}

// hostPort returns what a request to the target says in Host: the address, as
// Caddy tells backends with TLS.
func (t Target) hostPort() string {
	host, port, err := net.SplitHostPort(t.Address)
	switch {
	case err != nil || caddy.IsUnixNetwork(t.Network):
		return t.Host
	case host == "": // as in ":8080", which dials this machine
		return "localhost:" + port
	}
	return t.Address
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Schedule)(nil)
	_ caddyfile.Unmarshaler = (*Schedule)(nil)
)
