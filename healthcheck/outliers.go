// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"fmt"
	"math"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
)

// Outliers ejects backends by the outcomes of their requests, without probes. After an
// ejection, one request, the trial, decides: the backend serves again if it succeeds, and is
// ejected for longer if it fails. The last available backend is never ejected.
type Outliers struct {
	// Off disables outlier detection.
	Off bool `json:"off,omitempty"`
	// ConsecutiveErrors is the number of consecutive errors that eject a backend; 0 disables
	// it. Default: 5.
	ConsecutiveErrors *int `json:"consecutive_errors,omitempty"`
	// ErrorStatus lists the status codes that are errors: codes such as 502, ranges such as
	// 500-504, classes such as 5xx. Requests without a complete response are always errors,
	// unless the client is the cause. Default: 502, 503 and 504.
	ErrorStatus []string `json:"error_status,omitempty"`
	// ErrorRatio is the share of errors among the requests of one interval that ejects a
	// backend, from 0 to 1; 0 disables it. Default: 0.85.
	ErrorRatio *float64 `json:"error_ratio,omitempty"`
	// MinRequests is the least number of requests in an interval for error_ratio and latency
	// to apply. Default: 50.
	MinRequests int `json:"min_requests,omitempty"`
	// Latency ejects a backend whose mean time to the response header in one interval is more
	// than this factor, above 1, times the median of the pool. At least 3 backends must have
	// min_requests. Default: off.
	Latency float64 `json:"latency,omitempty"`
	// Stall ejects a backend that answers none of at least 10 waiting requests for this time,
	// at least 100ms, while its peers answer the same mix; 0 disables it. Default: 1s.
	Stall *caddy.Duration `json:"stall,omitempty"`
	// Interval is the interval of error_ratio and latency, at least 1s. Default: 10s.
	Interval caddy.Duration `json:"interval,omitempty"`
	// EjectFor is the duration of the first ejection. It doubles with each further one soon
	// after. Default: 30s.
	EjectFor caddy.Duration `json:"eject_for,omitempty"`
	// MaxEjectFor is the longest duration of an ejection. Default: 5m, or eject_for if that
	// is longer.
	MaxEjectFor caddy.Duration `json:"max_eject_for,omitempty"`
	// MaxEjected is the share of a tier that may be ejected at a time, from 0 to 1. One
	// backend may always be ejected, and all of them while other tiers can take the requests,
	// but never the last backend of the pool. Default: 0.5.
	MaxEjected *float64 `json:"max_ejected,omitempty"`
}

// Rules returns the rules with their defaults, or nil if they are off. A nil Outliers has the
// default rules.
func (o *Outliers) Rules() (*outlier.Rules, error) {
	if o == nil {
		o = new(Outliers)
	}
	for _, err := range []error{
		judgements.Check("interval", o.Interval), ejections.Check("eject_for", o.EjectFor),
		ejections.Check("max_eject_for", o.MaxEjectFor), stalls.Check("stall", valueOr(o.Stall, 0)),
	} {
		if err != nil {
			return nil, err
		}
	}
	full := *o // the configuration itself stays unchanged
	setDefault(&full.MinRequests, 50)
	setDefault(&full.Interval, caddy.Duration(10*time.Second))
	setDefault(&full.EjectFor, caddy.Duration(30*time.Second))
	setDefault(&full.MaxEjectFor, max(caddy.Duration(5*time.Minute), full.EjectFor))
	if len(full.ErrorStatus) == 0 {
		full.ErrorStatus = []string{"502", "503", "504"}
	}
	errors, err := httpx.ParseStatusCodes("error_status", full.ErrorStatus)
	if err != nil {
		return nil, err
	}
	rules := &outlier.Rules{
		ConsecutiveErrors: valueOr(o.ConsecutiveErrors, 5),
		ErrorRatio:        valueOr(o.ErrorRatio, 0.85),
		MinRequests:       int64(full.MinRequests),
		Latency:           full.Latency,
		Stall:             time.Duration(valueOr(o.Stall, caddy.Duration(time.Second))),
		Interval:          time.Duration(full.Interval),
		EjectFor:          time.Duration(full.EjectFor),
		MaxEjectFor:       time.Duration(full.MaxEjectFor),
		MaxEjected:        valueOr(o.MaxEjected, 0.5),
	}
	for code := range rules.ErrorStatus {
		rules.ErrorStatus[code] = errors.Contain(code)
	}
	switch {
	case rules.ConsecutiveErrors < 0 || rules.ConsecutiveErrors > math.MaxInt32:
		err = fmt.Errorf("consecutive_errors must be at least 1, or 0 for none, got %d", rules.ConsecutiveErrors)
	case !(rules.ErrorRatio >= 0 && rules.ErrorRatio <= 1):
		err = fmt.Errorf("error_ratio must be from 0 to 1, got %v", rules.ErrorRatio)
	case rules.MinRequests < 1:
		err = fmt.Errorf("min_requests must be at least 1, got %d", rules.MinRequests)
	case rules.Latency != 0 && !(rules.Latency > 1 && rules.Latency <= maxLatencyFactor):
		err = fmt.Errorf("latency must be a factor above 1 such as 3, at most %d, got %v", maxLatencyFactor, rules.Latency)
	case rules.MaxEjectFor < rules.EjectFor:
		err = fmt.Errorf("max_eject_for is %v and must not be less than eject_for, %v; raise it, or lower eject_for", rules.MaxEjectFor, rules.EjectFor)
	case !(rules.MaxEjected > 0 && rules.MaxEjected <= 1):
		err = fmt.Errorf("max_ejected must be above 0 and at most 1, got %v; to eject none write `outliers off`", rules.MaxEjected)
	}
	if err != nil || o.Off {
		return nil, err
	}
	return rules, nil
}

const maxLatencyFactor = 1000

// Bounds of durations. The control loop of a pool does not support shorter ones.
var (
	judgements = caddyfileutil.Durations{Min: time.Second, Max: caddyfileutil.Year}
	ejections  = caddyfileutil.Durations{Min: 100 * time.Millisecond, Max: caddyfileutil.Year}
	stalls     = caddyfileutil.Durations{Min: outlier.MinStall, Max: caddyfileutil.Year}
)

func valueOr[T any](p *T, value T) T {
	if p != nil {
		return *p
	}
	return value
}

// Unmarshal parses the rest of the option. Syntax:
//
//	outliers off
//
//	outliers {
//		consecutive_errors <n>
//		error_status       <codes...>
//		error_ratio        <ratio>
//		min_requests       <n>
//		latency            <factor>|off
//		stall              <duration>|off
//		interval           <duration>
//		eject_for          <duration>
//		max_eject_for      <duration>
//		max_ejected        <ratio>
//	}
func (o *Outliers) Unmarshal(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		if d.Val() != "off" {
			return d.Errf("outliers must be off or have a block, got %q", d.Val())
		}
		o.Off = true
		if err := caddyfileutil.Block(d, nil); err != nil {
			return err
		}
		return caddyfileutil.NoBlock(d, "outliers off")
	}
	valid := func(opt caddyfileutil.Option) caddyfileutil.Option {
		return caddyfileutil.Valid(opt, func() error {
			check := *o
			check.MaxEjectFor = 0 // max_eject_for may come before eject_for
			_, err := check.Rules()
			return err
		})
	}
	at := *d
	err := caddyfileutil.Block(d, caddyfileutil.Options{
		"consecutive_errors": valid(caddyfileutil.IntPtr(&o.ConsecutiveErrors, 0, math.MaxInt32)),
		"error_status":       valid(caddyfileutil.Strings(&o.ErrorStatus)),
		"error_ratio":        valid(caddyfileutil.Ratio(&o.ErrorRatio)),
		"min_requests":       valid(caddyfileutil.Int(&o.MinRequests, 1, math.MaxInt32)),
		"latency": valid(caddyfileutil.Off(caddyfileutil.Valid(caddyfileutil.Float(&o.Latency), func() error {
			if o.Latency == 0 {
				return fmt.Errorf("latency must be a factor above 1 such as 3, at most %d, or off, got 0", maxLatencyFactor)
			}
			return nil
		}), func() { o.Latency = 0 })),
		"stall": valid(caddyfileutil.Off(func(d *caddyfile.Dispenser) error {
			o.Stall = new(caddy.Duration)
			return stalls.Option(o.Stall)(d)
		}, func() { o.Stall = new(caddy.Duration) })),
		"interval":      valid(judgements.Option(&o.Interval)),
		"eject_for":     valid(ejections.Option(&o.EjectFor)),
		"max_eject_for": valid(ejections.Option(&o.MaxEjectFor)),
		"max_ejected":   valid(caddyfileutil.Ratio(&o.MaxEjected)),
	}.Hint(outlierWords))
	if err == nil {
		if _, err = o.Rules(); err != nil {
			return at.WrapErr(err)
		}
	}
	return err
}
