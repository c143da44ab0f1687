// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package backendtest makes backends for the tests of proxyhook and the packages in it, and sums up
// their counts.
package backendtest

import (
	"net/http"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// Limited returns a backend without a pool that may have one request.
func Limited() *backend.Backend {
	return newBackend("", "a:1", "a:1", new(1))
}

// Ejectable returns a backend in a pool that ejects for one error.
func Ejectable(address string) *backend.Backend {
	b, other := newBackend("web", "a", address, nil), newBackend("web", "b", "127.0.0.1:1", nil)
	rules := &outlier.Rules{ConsecutiveErrors: 1, EjectFor: time.Minute, MaxEjectFor: time.Minute, MaxEjected: 1, Stall: time.Second}
	rules.ErrorStatus[http.StatusServiceUnavailable] = true
	p := pool.NewPool("web")
	p.SetOptions(pool.Options{Outliers: rules})
	p.SetMembers(pool.NewMembers([]*backend.Backend{b, other}))
	return b
}

func newBackend(poolName, id, address string, maxRequests *int) *backend.Backend {
	settings := backend.Settings{ID: id, Weight: new(1), MaxRequests: maxRequests}
	return backend.New(poolName, backend.Endpoint{Address: address, Settings: settings}, backend.NewState(), nil, nil)
}

// Failures returns the number of failures of any kind.
func Failures(t backend.Totals) (n int64) {
	for _, of := range t.Failures {
		n += of
	}
	return n
}
