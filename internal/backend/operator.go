// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import "sync/atomic"

// Operator is what an operator has asked of a backend at run time. No check and
// no outcome undoes it. Safe for concurrent use.
type Operator struct {
	admin  atomic.Uint32
	weight atomic.Pointer[AgentWeight] // nil for the configured one
}

// SetAdmin sets the administrative state.
func (o *Operator) SetAdmin(a Admin) { o.admin.Store(uint32(a)) }

// AdminState returns the administrative state.
func (o *Operator) AdminState() Admin { return Admin(o.admin.Load()) }

// SetWeight replaces the configured weight; nil undoes it.
func (o *Operator) SetWeight(w *AgentWeight) { o.weight.Store(w) }

// OperatorWeight returns what replaces the configured weight, or nil.
func (o *Operator) OperatorWeight() *AgentWeight { return o.weight.Load() }

func (o *Operator) out() bool { return o.admin.Load() != uint32(Ready) }
