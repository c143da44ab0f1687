// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// A backend that fails from 2 s to 5 s serves its share again once its trial, after 6 s, has succeeded, with every policy
// that goes by load or latency. A third of the requests is fair; half of that is the bound, since
// policies sample and the two others answer as fast.
func TestRecoveredBackendServesAgain(t *testing.T) {
	for _, policy := range lbtest.Policies(lbtest.ByLoad, lbtest.ByLatency) {
		for name, broken := range map[string]lbtest.Answerer{"refuses": lbtest.Refused, "hangs": hang} {
			t.Run(policy+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					began, late := time.Now(), atomic.Int64{}
					victim := after(5*time.Second, after(2*time.Second, lbtest.Latency(fast), broken), lbtest.Latency(fast))
					p := pooled(t, fmt.Sprintf(`{"policy":%q}`, policy), "", `"outliers":{"eject_for":"4s","stall":"1s"}`,
						three(func(req *http.Request) (int, error) {
							if time.Since(began) > 10*time.Second {
								late.Add(1)
							}
							return victim(req)
						}))
					traffic{rate: 200, length: 14 * time.Second, patience: 2 * time.Second}.send(p)
					if want := int64(200 * 4 / 3 / 2); late.Load() < want {
						t.Errorf("it got %d requests in the last 4 s, want %d at least", late.Load(), want)
					}
				})
			})
		}
	}
}
