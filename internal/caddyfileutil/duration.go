// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package caddyfileutil

import (
	"fmt"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// Year is the longest duration of most options. Sums of several durations do not overflow.
const Year = 365 * 24 * time.Hour

// Durations is the range of durations of an option, in a Caddyfile and in JSON.
type Durations struct {
	// Min and Max are the shortest and the longest duration.
	Min, Max time.Duration
}

// AnyDuration is the range of options without a range of their own. A shorter duration is usually
// a number in JSON that was meant as seconds.
var AnyDuration = Durations{time.Millisecond, Year}

// Option stores one duration in dst.
func (r Durations) Option(dst *caddy.Duration) Option {
	return option(r, "duration", func(dur caddy.Duration) { *dst = dur })
}

// Parse applies the rule of [Durations.Option] to an argument parsed elsewhere.
func (r Durations) Parse(name, val string) (caddy.Duration, error) { return parse(r, name, val) }

func (r Durations) parse(val string) (caddy.Duration, bool) {
	dur, err := caddy.ParseDuration(val)
	return caddy.Duration(dur), err == nil && r.contain(dur)
}

// Check applies the same rule to JSON, where zero means the default.
func (r Durations) Check(name string, dur caddy.Duration) error {
	d := time.Duration(dur)
	switch {
	case d == 0 || r.contain(d):
		return nil
	case d > 0 && d < time.Millisecond:
		return fmt.Errorf("%s must be %s, got %v; a number is in nanoseconds, write a string with a unit such as \"2s\"", name, r, d)
	}
	return fmt.Errorf("%s must be %s, got %v", name, r, d)
}

func (r Durations) contain(d time.Duration) bool { return d >= r.Min && d <= r.Max }

// String describes the range, for errors and documentation.
func (r Durations) String() string {
	return fmt.Sprintf("a duration from %s to %s such as %s", shortest(r.Min), shortest(r.Max), shortest(max(r.Min, min(2*time.Second, r.Max))))
}

// shortest formats a duration briefly: 365d, not 8760h0m0s.
func shortest(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}

// Duration is the option of [AnyDuration].
func Duration(dst *caddy.Duration) Option { return AnyDuration.Option(dst) }

// ParseDuration is [Durations.Parse] of [AnyDuration].
func ParseDuration(name, val string) (caddy.Duration, error) { return AnyDuration.Parse(name, val) }

// CheckDuration is [Durations.Check] of [AnyDuration].
func CheckDuration(name string, dur caddy.Duration) error { return AnyDuration.Check(name, dur) }
