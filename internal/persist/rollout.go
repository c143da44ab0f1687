// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package persist

import (
	"errors"
	"slices"

	"github.com/ballast-lb/caddy-ballast/internal/rollout"
)

// RolloutRecord is the part of a snapshot that belongs to the rollout of one group. It is valid
// whatever its age.
type RolloutRecord struct {
	Pool  string `json:"pool"`  // its name, at most 512 bytes
	Group string `json:"group"` // its name, likewise
	rollout.Record
}

const (
	// maxRollouts limits the number of rollouts in a snapshot.
	maxRollouts = 10_000
	// rolloutText is the most bytes of the shares, and of a reason.
	rolloutText = 2048
	maxStep     = 10_000
)

// check returns an error for each value that is out of bounds.
func (r *RolloutRecord) check() error {
	err := errors.Join(
		checkText("pool", r.Pool, 1, recordText), checkText("group", r.Group, 1, recordText), checkText("shares", r.Shares, 1, rolloutText),
		checkNumber("step", float64(r.Step), maxStep), checkText("reason", r.Reason, 0, rolloutText))
	if !slices.Contains(rollout.Stages(), r.State) {
		err = errors.Join(err, errors.New("state is unknown"))
	}
	return err
}

// Rollout returns the saved record of the rollout of a group of which the process has no state; nil for none.
func (g *Generation) Rollout(pool, group string) *rollout.Record {
	if g == nil {
		return nil
	}
	k := g.store
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range k.rollouts {
		if r := &k.rollouts[i]; r.Pool == pool && r.Group == group {
			return &r.Record
		}
	}
	return nil
}
