// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/history"
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/report"
)

// checkDigest returns an error if a record of another instance is invalid.
func checkDigest(_ string, value []byte) error {
	var d membership.Digest
	if err := httpx.DecodeJSON(value, &d); err != nil {
		return err
	}
	if d.Requests < 0 || d.Errors < 0 || d.Refused < 0 || d.InFlight < 0 {
		return errors.New("figures must not be negative")
	}
	return nil
}

// publishDigest publishes the figures of the pool on this instance. They change with each step of the history, so a busy
// pool publishes one small record every 5 s.
func (w *watch) publishDigest(p *Pool, now time.Time) {
	if d, ok := report.DigestOf(p.Name); ok {
		w.publish(&w.digests, w.fleet.ID(), d, now, min(history.Step, w.renewal()))
	}
}

// digestOf returns the latest figures of an instance; nil if there are none.
func (w *watch) digestOf(instance string) *membership.Digest {
	d := new(membership.Digest)
	if r, ok := w.digests.get(instance); !ok || json.Unmarshal(r.value, d) != nil {
		return nil
	}
	return d
}
