// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/clip"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
)

// What a backend says is bounded wherever it is kept.
func TestTextsOfBackendsAreBounded(t *testing.T) {
	long := strings.Repeat("<", 4<<20)
	v := health.NewStatus(true)
	v.Observe(errors.New(long), 1, 1)
	probe := v.Report().LastError
	v.ObserveAgentError(errors.New(long))
	silence := v.Report().LastError
	down := false
	v.ApplyInstruction(health.Instruction{Up: &down, Reason: long})
	agent := v.Report().LastError
	e := NewState()
	e.Eject(clock.Now(), &outlier.Rules{EjectFor: time.Second, MaxEjectFor: time.Second}, long, false)
	for what, text := range map[string]string{"probe": probe, "silence": silence, "agent": agent, "ejection": e.EjectionReport().Reason} {
		if len(text) > clip.MaxBytes || !strings.HasSuffix(text, "…") {
			t.Errorf("%s: %d bytes, marked %v", what, len(text), strings.HasSuffix(text, "…"))
		}
	}
}
