// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"cmp"
	"context"
	"encoding/json"
	"math"
	"net"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/httptransport"
)

// Namespace is the namespace of check modules, and InlineKey the JSON key of their name.
const (
	Namespace = "ballast.checks"
	InlineKey = "check"
)

// Check is a health check. Implementations are guest modules that embed [Schedule], in this
// package or in another repository. Package healthchecktest tests them.
type Check interface {
	// Probe returns nil for a healthy target, else the reason of the failure. It must return
	// when ctx ends. It may be called for several targets concurrently.
	Probe(ctx context.Context, t Target) error
	// Timing returns the schedule and the thresholds of the check.
	Timing() *Schedule
}

// AgentCheck is a check that gets instructions from the agent of a backend instead of testing its
// health. An instruction takes effect at once, and a failure to get one changes no state: Probe is
// not called, and passes and fails do not apply.
type AgentCheck interface {
	Check
	// Steer returns the instruction of the backend. It must return when ctx ends, and may be
	// called concurrently, as Probe.
	Steer(ctx context.Context, t Target) (Instruction, error)
}

// Target is the target of a probe.
type Target struct {
	// Network and Address are arguments for [net.Dial].
	Network, Address string
	// Host is the host part of the address, for server names; "localhost" for a unix socket.
	Host string
	// Scheme is the scheme of the backend's address: "http", "https", "h2c" or "".
	Scheme string

	transport *httptransport.Transport // transport of the proxy, or nil
	ownPort   bool                     // the check has its own port
	backend   *backend.Backend         // has the resolved addresses; nil if unknown
}

// Of returns the target with a backend, whose host name may be resolved already.
func (t Target) Of(b *backend.Backend) Target {
	t.backend = b
	return t
}

// Through returns the target with the transport of a proxy, which may be nil.
func (t Target) Through(transport *httptransport.Transport) Target {
	t.transport = transport
	return t
}

// NewTarget returns the target of a check on the backend at a valid dial address. A port
// other than 0 replaces that of the address.
func NewTarget(address, scheme string, port int) Target {
	na, _ := caddy.ParseNetworkAddress(address)
	if na.IsUnixNetwork() {
		return Target{Network: na.Network, Address: na.JoinHostPort(0), Host: "localhost", Scheme: scheme}
	}
	if port != 0 {
		na.StartPort, na.EndPort = uint(port), uint(port)
	}
	return Target{Network: na.Network, Address: na.JoinHostPort(0), Host: na.Host, Scheme: scheme, ownPort: port != 0}
}

// Schedule contains the intervals of a check and the thresholds of its status. Every check
// embeds it: a type that embeds Schedule and has the methods Probe and CaddyModule is a
// check. A check with its own options has an UnmarshalCaddyfile that adds them to those of
// Options. A check with its own Provision calls that of Schedule first.
type Schedule struct {
	// Interval is the time between the starts of two probes of a backend, at least 10ms.
	// Default: 2s.
	Interval caddy.Duration `json:"interval,omitempty"`
	// Timeout is the longest duration of a probe, from the dial to the last byte it needs.
	// Default: 1s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
	// Passes is the number of consecutive passes that mark a down backend up. Default: 2.
	Passes int `json:"passes,omitempty"`
	// Fails is the number of consecutive failures that mark an up backend down. Default: 3.
	Fails int `json:"fails,omitempty"`
	// DownInterval replaces the interval while a backend is down. Default: the interval.
	DownInterval caddy.Duration `json:"down_interval,omitempty"`
	// EdgeInterval replaces the interval while results contradict the status but have not
	// changed it yet. Default: the interval.
	EdgeInterval caddy.Duration `json:"edge_interval,omitempty"`
	// Jitter randomly lengthens or shortens each interval by up to this share, from 0 to 1,
	// so that probes spread. Default: 0.1.
	Jitter *float64 `json:"jitter,omitempty"`
	// Initial is the status of a backend before its first change: "up" or "down". Default:
	// "up".
	Initial string `json:"initial,omitempty"`
	// Port replaces the port of the backend. Default: the backend's port.
	Port int `json:"port,omitempty"`
}

const defaultJitter = 0.1

// intervals bounds the intervals: shorter ones would overload backends.
var intervals = caddyfileutil.Durations{Min: 10 * time.Millisecond, Max: caddyfileutil.Year}

// Bounds of other options.
var (
	streaks  = caddyfileutil.Ints{Min: 1, Max: math.MaxInt}
	ports    = caddyfileutil.Ints{Min: 1, Max: 65535}
	initials = caddyfileutil.Words{"up", "down"}
)

// Timing implements [Check].
func (s *Schedule) Timing() *Schedule { return s }

// Provision sets defaults, and returns an error for an invalid field. It may be called again.
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
	if s.Port != 0 {
		if err := ports.Check("port", s.Port); err != nil {
			return err
		}
	}
	return cmp.Or(streaks.Check("passes", s.Passes), streaks.Check("fails", s.Fails),
		caddyfileutil.AnyRatio.Check("jitter", *s.Jitter), initials.Check("initial", s.Initial))
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Options are the options of a Caddyfile block. Each parses its arguments; the dispenser is
// at its name. Parse parses the block.
type Options = caddyfileutil.Options

// Options returns the options of every check, which set the fields of s. A check adds its own
// to them.
func (s *Schedule) Options() Options {
	return Options{
		"interval":      intervals.Option(&s.Interval),
		"timeout":       caddyfileutil.Duration(&s.Timeout),
		"passes":        streaks.Option(&s.Passes),
		"fails":         streaks.Option(&s.Fails),
		"down_interval": intervals.Option(&s.DownInterval),
		"edge_interval": intervals.Option(&s.EdgeInterval),
		"jitter":        caddyfileutil.AnyRatio.Pointer(&s.Jitter),
		"initial":       initials.Option(&s.Initial),
		"port":          ports.Option(&s.Port),
	}.Hint(checkWords)
}

// UnmarshalCaddyfile sets up a check without additional options from Caddyfile tokens. Syntax:
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

// after returns the time between the starts of two probes of a backend with the given status;
// random is from 0 to 1.
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

// Identity returns the identity of a check among those of a backend: its JSON without the
// schedule. A check keeps its status when only its schedule changes.
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

// hostPort returns the Host field of requests to the target: the address, as Caddy sends it
// to backends with TLS.
func (t Target) hostPort() string {
	host, port, err := net.SplitHostPort(t.Address)
	switch {
	case err != nil || caddy.IsUnixNetwork(t.Network):
		return t.Host
	case host == "": // such as ":8080", which means this machine
		return "localhost:" + port
	}
	return t.Address
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Schedule)(nil)
	_ caddyfile.Unmarshaler = (*Schedule)(nil)
)
