// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shedder_test

import (
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// No key exceeds its limit, also while it changes from the shared limiter to its own.
func TestPerKeyNeverExceeds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const limit, tenants = 2, 64 // four for each of the 16 limiters, on average
		s := newSite(t, `{"limiter":{"limiter":"fixed","limit":2},"per":{"key":"header","key_name":"X-Tenant","max_keys":16}}`, oneBackend, nil)
		var mu sync.Mutex
		var inFlight [tenants]int
		var ends [tenants]chan struct{}
		for i := range ends {
			ends[i] = make(chan struct{})
		}
		shared, most := 0, 0
		s.next = caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
			i, _ := strconv.Atoi(r.Header.Get("X-Tenant"))
			mu.Lock()
			inFlight[i]++
			most = max(most, inFlight[i])
			end := ends[i]
			mu.Unlock()
			<-end
			mu.Lock()
			inFlight[i]--
			mu.Unlock()
			return nil
		})
		var all sync.WaitGroup
		send := func(i int) {
			all.Go(func() {
				req := get("/")
				req.Header.Set("X-Tenant", strconv.Itoa(i))
				s.do(req)
			})
		}
		finish := func(i int) {
			mu.Lock()
			close(ends[i])
			ends[i] = make(chan struct{})
			mu.Unlock()
			synctest.Wait()
		}
		for i := range tenants {
			send(i)
			synctest.Wait()
			if inFlight[i] > 0 {
				shared++
			}
		}
		if shared <= 16 {
			t.Fatalf("%d tenants are admitted, want some that share", shared)
		}
		for i := range tenants { // each end may free a limiter
			finish(i)
			for k := range tenants {
				for range limit {
					send(k)
				}
			}
			synctest.Wait()
		}
		if most != limit {
			t.Errorf("a tenant had %d in flight, want %d at most", most, limit)
		}
		for i := range tenants {
			finish(i)
		}
		all.Wait()
	})
}
