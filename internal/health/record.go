// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package health

import (
	"fmt"
	"slices"
)

// Bounds of a record.
const (
	// MaxRecordedRequests limits a recorded limit of requests in flight.
	MaxRecordedRequests = 1<<31 - 1

	maxRecordedWeight = 1_000_000
)

// Record is the recorded status of one health check.
type Record struct {
	// Check identifies the check, in at most 128 bytes.
	Check string `json:"check"`
	// Up is the status; nil if there was none yet, or if it was suppressed.
	Up          *bool        `json:"up,omitempty"`
	Weight      *AgentWeight `json:"weight,omitempty"`       // set by an agent, up to 1,000,000
	MaxRequests int          `json:"max_requests,omitempty"` // likewise, up to 2147483647; 0 for no limit
	Admin       string       `json:"admin,omitempty"`        // likewise, empty for ready
}

// ToRecord returns the record of the status. known is false if the status has nothing to record. A
// suppressed status is not recorded.
func (v *Status) ToRecord(check string) (c Record, known bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if up := v.Passing(); v.reached && (up || !v.Suppressed()) {
		c.Up = &up
	}
	c.Weight, c.Admin = v.weight.Bounded(), v.admin.Recorded()
	c.MaxRequests = int(min(max(v.maxRequests.Load(), 0), MaxRecordedRequests))
	known = c != Record{}
	c.Check = check
	return c, known
}

// Restore sets the status from a record. It does nothing after the first result.
func (v *Status) Restore(c *Record) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.reached || v.streak > 0 || v.passes > 0 || v.fails > 0 {
		return
	}
	if c.Up != nil {
		v.reached = true
		v.set(*c.Up)
		if !*c.Up {
			v.lastErr = "down before the restart"
		}
	}
	v.weight = c.Weight
	v.admin, _ = ParseAdmin(c.Admin)
	if v.admin != Ready {
		v.bits.Or(bitOut)
	}
	if v.maxRequests.Store(int64(c.MaxRequests)); c.MaxRequests > 0 {
		v.bits.Or(bitBounded)
	}
}

// Recorded returns the name in a record: empty for ready.
func (a Admin) Recorded() string {
	if a == Ready {
		return ""
	}
	return a.String()
}

// ParseAdmin returns the state of a name in a record, or false if there is none of this name.
func ParseAdmin(text string) (a Admin, ok bool) {
	if text == "" {
		return Ready, true
	}
	i := slices.Index(adminNames[:], text)
	return Admin(max(i, 0)), i >= 0
}

// CheckAdmin returns an error for an invalid recorded state.
func CheckAdmin(text string) error {
	if _, ok := ParseAdmin(text); !ok {
		return fmt.Errorf("admin must be one of %v, got %q", adminNames, text)
	}
	return nil
}

// Check returns an error for an invalid recorded weight. Nil is valid.
func (w *AgentWeight) Check() error {
	if w != nil && !(w.Value >= 0 && w.Value <= maxRecordedWeight) {
		return fmt.Errorf("weight must be from 0 to %v, got %v", float64(maxRecordedWeight), w.Value)
	}
	return nil
}

// Bounded returns the weight within the bounds of a record.
func (w *AgentWeight) Bounded() *AgentWeight {
	if w.Check() == nil {
		return w
	}
	bounded := *w
	if bounded.Value = min(bounded.Value, maxRecordedWeight); !(bounded.Value >= 0) {
		return nil
	}
	return &bounded
}
