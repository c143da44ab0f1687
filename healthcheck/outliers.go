// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"reflect"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
)

// Outliers ejects backends because of the outcomes of their requests, without probes. After an
// ejection, one request, the trial, decides: if it succeeds, the backend serves again; if it fails,
// the backend is ejected for longer. The last available backend is never ejected.
type Outliers struct {
	// Off disables outlier detection. It excludes all other options.
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
	// Latency ejects a backend whose mean latency in one interval is more than this factor,
	// above 1, times the median of the pool. At least 3 backends must have
	// min_requests. Default: off.
	Latency float64 `json:"latency,omitempty"`
	// LatencyBy is the time that latency compares: "header", to the response header; "body", to
	// the first byte of the response body, for backends that send the header before they work.
	// Default: header.
	LatencyBy string `json:"latency_by,omitempty"`
	// Stall ejects a backend that answers none of at least 10 waiting requests for this time,
	// at least 100ms, while its peers answer the same mix; 0 disables it. Default: 1s.
	Stall *caddy.Duration `json:"stall,omitempty"`
	// Interval is the interval of error_ratio and latency, at least 1s. Default: 10s.
	Interval caddy.Duration `json:"interval,omitempty"`
	// EjectFor is the duration of the first ejection. It doubles with each further one soon after.
	// Default: 30s.
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
	if o.Off && !reflect.DeepEqual(*o, Outliers{Off: true}) {
		return nil, errors.New("off excludes all other options; write one or the other")
	}
	for _, err := range []error{
		judgements.Check("interval", o.Interval), ejections.Check("eject_for", o.EjectFor),
		ejections.Check("max_eject_for", o.MaxEjectFor), stalls.Check("stall", valueOr(o.Stall, 0)),
	} {
		if err != nil {
			return nil, err
		}
	}
	full := *o // the configuration itself is not changed
	setDefault(&full.MinRequests, 50)
	setDefault(&full.Interval, caddy.Duration(10*time.Second))
	setDefault(&full.EjectFor, caddy.Duration(30*time.Second))
	setDefault(&full.MaxEjectFor, max(caddy.Duration(5*time.Minute), full.EjectFor))
	if len(full.ErrorStatus) == 0 {
		full.ErrorStatus = []string{"502", "503", "504"}
	}
	statuses, err := httpx.ParseStatusCodes("error_status", full.ErrorStatus)
	if err != nil {
		return nil, err
	}
	rules := &outlier.Rules{
		ConsecutiveErrors: valueOr(o.ConsecutiveErrors, 5),
		ErrorRatio:        valueOr(o.ErrorRatio, 0.85),
		MinRequests:       int64(full.MinRequests),
		Latency:           full.Latency,
		LatencyByBody:     full.LatencyBy == "body",
		Stall:             time.Duration(valueOr(o.Stall, caddy.Duration(time.Second))),
		Interval:          time.Duration(full.Interval),
		EjectFor:          time.Duration(full.EjectFor),
		MaxEjectFor:       time.Duration(full.MaxEjectFor),
		MaxEjected:        valueOr(o.MaxEjected, 0.5),
	}
	for code := range rules.ErrorStatus {
		rules.ErrorStatus[code] = statuses.Contain(code)
	}
	err = cmp.Or(errorCounts.Check("consecutive_errors", rules.ConsecutiveErrors), caddyfileutil.AnyRatio.Check("error_ratio", rules.ErrorRatio),
		requestCounts.Check("min_requests", full.MinRequests), latencyFactors.Check("latency", rules.Latency), latencyWords.Check("latency_by", full.LatencyBy), ejectedShares.Check("max_ejected", rules.MaxEjected))
	if err == nil && rules.MaxEjectFor < rules.EjectFor {
		err = fmt.Errorf("max_eject_for is %v and must not be less than eject_for, %v; raise it, or lower eject_for", rules.MaxEjectFor, rules.EjectFor)
	}
	if err != nil || o.Off {
		return nil, err
	}
	return rules, nil
}

// Bounds of options. The control loop of a pool does not support shorter durations.
var (
	judgements = caddyfileutil.Durations{Min: time.Second, Max: caddyfileutil.Year}
	ejections  = caddyfileutil.Durations{Min: 100 * time.Millisecond, Max: caddyfileutil.Year}
	stalls     = caddyfileutil.Durations{Min: outlier.MinStall, Max: caddyfileutil.Year}

	errorCounts    = caddyfileutil.Ints{Max: math.MaxInt32}
	requestCounts  = caddyfileutil.Ints{Min: 1, Max: math.MaxInt32}
	latencyFactors = caddyfileutil.Floats{Min: 1, Max: 1000, Above: true, Off: true, Such: 3}
	latencyWords   = caddyfileutil.Words{"header", "body"}
	ejectedShares  = caddyfileutil.Floats{Max: 1, Above: true, Ratio: true, Note: " (to eject none write `outliers off`)"}
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
//		latency            <factor>|off [header|body]
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
	position := *d
	err := caddyfileutil.Block(d, caddyfileutil.Options{
		"consecutive_errors": errorCounts.Pointer(&o.ConsecutiveErrors),
		"error_status": caddyfileutil.Valid(caddyfileutil.Strings(&o.ErrorStatus), func() error {
			_, err := httpx.ParseStatusCodes("error_status", o.ErrorStatus)
			return err
		}),
		"error_ratio":  caddyfileutil.AnyRatio.Pointer(&o.ErrorRatio),
		"min_requests": requestCounts.Option(&o.MinRequests),
		"latency": caddyfileutil.Off(caddyfileutil.OneOrTwo("latency takes a factor and an optional time; write latency <factor> [header|body]", o.parseLatency),
			func() { o.Latency, o.LatencyBy = 0, "" }),
		"stall": caddyfileutil.Off(func(d *caddyfile.Dispenser) error {
			o.Stall = new(caddy.Duration)
			return stalls.Option(o.Stall)(d)
		}, func() { o.Stall = new(caddy.Duration) }),
		"interval":      judgements.Option(&o.Interval),
		"eject_for":     ejections.Option(&o.EjectFor),
		"max_eject_for": ejections.Option(&o.MaxEjectFor),
		"max_ejected":   ejectedShares.Pointer(&o.MaxEjected),
	}.Hint(outlierWords))
	if err == nil {
		if _, err = o.Rules(); err != nil {
			return position.WrapErr(err)
		}
	}
	return err
}

// parseLatency parses the arguments of latency.
func (o *Outliers) parseLatency(args []string) (err error) {
	if o.Latency, err = latencyFactors.Parse("latency", args[0]); err != nil || len(args) == 1 {
		return err
	}
	o.LatencyBy = args[1]
	return latencyWords.Check("latency's time", o.LatencyBy)
}
