// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/persist"
)

// The changes for addresses are limited, and those for instances are not refused at the limit.
func TestForAddressLimit(t *testing.T) {
	r := &overlay{forAddress: make(map[string]addressChange)}
	c := membership.Change{Admin: new(health.Drain), ForAddress: true}
	n := 0
	var err error
	for ; err == nil && n < 10*maxAdded; n++ {
		_, err = r.keepForAddress(fmt.Sprint("a:", n), c)
	}
	if n--; n != len(operatorAspects)*maxAdded || len(r.forAddress) != n || !strings.Contains(err.Error(), "limit") {
		t.Errorf("%d changes: %v", n, err)
	}
	if differs, err := r.keepForAddress("a:1", membership.Change{Admin: new(health.Ready)}); err != nil || !differs || len(r.forAddress) != n-1 {
		t.Errorf("%v, %v, %d changes are left", differs, err, len(r.forAddress))
	}
}

// What is for an address without a backend is forgotten after a day, but not in a fleet.
func TestForAddressInAFleetIsKept(t *testing.T) {
	for _, c := range []*replica{nil, {}} {
		r := &overlay{replica: c, forAddress: map[string]addressChange{
			"a|a:1": {at: time.Now().Add(-persist.OperatorFor)}, "a|b:1": {at: time.Now().Add(time.Minute - persist.OperatorFor)},
		}}
		if r.forgetAddresses(new(Pool)); len(r.forAddress) != 1 && c == nil || len(r.forAddress) != 2 && c != nil {
			t.Errorf("in a fleet %v: %v is left", c != nil, r.forAddress)
		}
	}
}
