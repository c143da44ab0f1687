// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package pool_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/ballast-lb/caddy-ballast/discovery"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// BenchmarkPushedChanges is the processor time for a change of a pool of 1,000 backends that a source
// pushes: of one backend, and of all of them.
func BenchmarkPushedChanges(b *testing.B) {
	for _, changed := range []int{1, 1000} {
		b.Run(fmt.Sprint(changed), func(b *testing.B) {
			r := new(registry)
			registries.Store(b.Name(), r)
			sets := [2][]discovery.Endpoint{}
			for n := range 1000 {
				for i := range sets {
					instance := 0
					if n < changed {
						instance = i
					}
					sets[i] = append(sets[i], of(fmt.Sprintf("10.0.%d.%d:80", n/250, n%250+1), fmt.Sprint(instance)))
				}
			}
			r.set(sets[0]...)
			load(b, nil, proxy("p2c", `"name":"web",`+fmt.Sprintf(`"sources":[{"source":"push","registry":%q}]`, b.Name())))
			p := pool.Current("web")
			wait := func(set []discovery.Endpoint) {
				for {
					if m := p.Find(set[0].Address); m != nil && m.Instance == set[0].Instance {
						return
					}
					<-time.After(time.Millisecond)
				}
			}
			wait(sets[0])
			began := processTime()
			n := 0
			for b.Loop() {
				n++
				r.set(sets[n%2]...)
				wait(sets[n%2])
			}
			b.ReportMetric(float64(processTime()-began)/float64(n)/1e6, "cpu-ms/change")
		})
	}
}

// processTime is the processor time of this process so far.
func processTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
