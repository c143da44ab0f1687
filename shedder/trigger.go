// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shedder

import (
	"errors"
	"fmt"
	"strings"

	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/shedder/internal/pressure"
)

// Trigger is a threshold for a signal of the machine, or of the cgroup that confines Caddy.
type Trigger struct {
	// Signal is cpu or memory, the share in use; or pressure_cpu, pressure_memory or
	// pressure_io, the share of the last ten seconds in which a task waited for the resource
	// (Linux PSI). Required.
	Signal string `json:"signal"`
	// Above is the threshold of the signal, above 0 and below 1. Required.
	Above float64 `json:"above"`
}

func (t *Trigger) check() error {
	if t == nil {
		return errors.New("a trigger of when is null; write an object with its signal")
	}
	if err := t.checkSignal(); err != nil {
		return err
	}
	return thresholds.Check("when "+t.Signal, t.Above)
}

// thresholds bounds the threshold of a signal.
var thresholds = caddyfileutil.Floats{Max: 1, Above: true, Below: true, Ratio: true}

func (t *Trigger) checkSignal() error {
	known := false
	var names []string
	for _, s := range pressure.Signals() {
		names = append(names, string(s))
		known = known || string(s) == t.Signal
	}
	if !known {
		return fmt.Errorf("when must be one of %s, got %q", strings.Join(names, ", "), t.Signal)
	}
	return nil
}

// triggers are the triggers whose signals this platform has.
type triggers []trigger

type trigger struct {
	above float64
	*pressure.Subscription
}

// subscribe starts the sampling of the signals. It logs each signal that the platform lacks.
func subscribe(when []*Trigger, logger *zap.Logger) (all triggers) {
	var missing []string
	var reasons []error
	for _, t := range when {
		sub, err := pressure.Subscribe(pressure.Signal(t.Signal))
		if err != nil {
			missing = append(missing, t.Signal)
			reasons = append(reasons, err)
			continue
		}
		all = append(all, trigger{t.Above, sub})
	}
	if len(missing) > 0 {
		logger.Warn("some signals are not available on this machine and have no effect",
			zap.Strings("signals", missing), zap.Errors("reasons", reasons))
	}
	return all
}

// over reports whether any signal is above its threshold.
func (all triggers) over() bool {
	for _, t := range all {
		if v, ok := t.Value(); ok && v > t.above {
			return true
		}
	}
	return false
}

func (all triggers) close() {
	for _, t := range all {
		t.Close()
	}
}
