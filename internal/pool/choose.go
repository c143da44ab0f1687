// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/hedge"
)

// Choose returns a permit for an attempt of a request, or the reason why there is none. All policies use it, so
// that the steps have one order: a retry needs the retry budget; then choose chooses a backend; without a choice,
// [Pool.Acquire] finds a backend, and may wait; and a retry is counted when there is a backend. A second attempt
// ([hedge.IsSecond]) does not wait, and [Pool.Hedge] counts it.
//
// group is the index of the request's group. tried are the backends that have already failed the request, in order;
// the attempt is a retry if there are any. choose returns the zero permit and no reason if it finds no backend.
// preferred returns the backend that Acquire prefers, or nil; it may itself be nil for requests without a preference.
// Both are parameters, since fields of a struct would be allocated.
func (p *Pool) Choose(ctx context.Context, group int, tried []*backend.Backend, choose func() (backend.Permit, Reason), preferred func() *backend.Backend) (backend.Permit, Reason) {
	retry := len(tried) > 0
	if retry && !p.MayRetry() {
		return backend.Permit{}, ReasonBudget
	}
	c, reason := choose()
	second := retry && hedge.IsSecond(ctx)
	if c.Backend == nil && reason == "" && second {
		return c, ReasonFull
	}
	if c.Backend == nil && reason == "" {
		o := AcquireOptions{Tried: tried, Group: group}
		if preferred != nil {
			o.Preferred = preferred()
		}
		c, reason = p.Acquire(ctx, o)
	}
	if retry && !second && c.Backend != nil && !p.Retry() {
		c.Release()
		return backend.Permit{}, ReasonBudget
	}
	return c, reason
}
