// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"cmp"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// target is one backend of one fan-out. The run's lock guards what may change.
type target struct {
	backend *backend.Backend
	quit    chan struct{} // closed when it has left the pool

	accepted bool
	closed   bool // it gets no further try; true once it has accepted
	left     bool // it has left the pool
	inFlight bool
	sent     bool // a try may have got there, and nobody knows
	status   int
	tries    int
	took     time.Duration
	err      string
	cancel   func(error) // of the try in flight
}

// write says whether the backend has the write.
func (t *target) write() string {
	switch {
	case t.accepted:
		return writeYes
	case t.inFlight, t.sent:
		return writeUnknown
	}
	return writeNo
}

// Reasons why a member of the pool gets no request.
const (
	leftOutOperator = "taken out" // by an operator or its agent
	leftOutDown     = "down"
	leftOutEjected  = "ejected"
)

// reasonTooFew is why a request is sent to nobody.
const reasonTooFew = "too_few_backends"

// choose returns who gets a request, of how many the quorum is, and who is left out
// and why. Those that an operator or an agent has taken out are no part of it. Those
// that are down or ejected get it only if the others are too few for the quorum.
func choose(view *backend.View, q quorum) (targets []*target, of int, leftOut []omission, reason string) {
	var fit, unfit []*backend.Backend
	for _, b := range view.Members.All {
		switch {
		case !b.Admitted():
			leftOut = append(leftOut, omission{b.ID, leftOutOperator})
		case b.Open() && b.EjectionState() == backend.Healthy:
			fit = append(fit, b)
		default:
			unfit = append(unfit, b)
		}
	}
	of = len(fit) + len(unfit)
	switch {
	case of == 0:
		return nil, 0, leftOut, string(cmp.Or(view.Reason, backend.ReasonDown))
	case q.need(of) > of:
		return nil, of, leftOut, reasonTooFew
	case q.need(of) > len(fit):
		// In the pool's order.
		fit, unfit = nil, nil
		for _, b := range view.Members.All {
			if b.Admitted() {
				fit = append(fit, b)
			}
		}
	}
	for _, b := range unfit {
		why := leftOutDown
		if b.Open() {
			why = leftOutEjected
		}
		leftOut = append(leftOut, omission{b.ID, why})
	}
	for _, b := range fit {
		targets = append(targets, &target{backend: b, quit: make(chan struct{})})
	}
	return targets, of, leftOut, ""
}
