// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/healthcheck"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

func init() { caddy.RegisterModule(new(counts)) }

// counts is a check that counts probes by the second in which they are made.
type counts struct{ healthcheck.HTTP }

var probesBySecond struct {
	sync.Mutex
	began    time.Time
	bySecond map[int]int
}

func (*counts) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ballast.checks.tally", New: func() caddy.Module { return new(counts) }}
}

func (*counts) Probe(context.Context, healthcheck.Target) error {
	probesBySecond.Lock()
	defer probesBySecond.Unlock()
	probesBySecond.bySecond[int(time.Since(probesBySecond.began)/time.Second)]++
	return nil
}

// 10,000 backends that are probed every 10 s, from the start on: no second has
// more than twice its share, which is 1,000.
func TestProbesOfManyAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		probesBySecond.Lock()
		probesBySecond.began, probesBySecond.bySecond = time.Now(), make(map[int]int)
		probesBySecond.Unlock()
		var all []string
		for i := range 10000 {
			all = append(all, fmt.Sprintf("10.0.%d.%d:80", i/250, i%250+1))
		}
		if _, err := lbtest.Load(t, nil, proxy("wrr", dials(all...)+`,"health":[{"check":"tally","interval":"10s"}]`), nil); err != nil {
			t.Fatal(err)
		}
		seconds(60.5)
		probesBySecond.Lock()
		defer probesBySecond.Unlock()
		sum := 0
		for s := range 60 {
			n := probesBySecond.bySecond[s]
			if sum += n; n > 2000 {
				t.Errorf("%d probes in second %d", n, s)
			}
		}
		if sum < 58000 || sum > 62000 { // six rounds
			t.Errorf("%d probes in a minute, want 60,000", sum)
		}
	})
}

// The first probes of a small pool are not put off: three backends are probed
// within 20 ms.
func TestSmallPoolsAreProbedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		load(t, nil, proxy("wrr", dials("a:1", "b:1", "c:1")+","+check(t, "")))
		seconds(0.021)
		w.set(func() {
			if len(w.probes) != 3 {
				t.Errorf("probed: %v", w.probes)
			}
		})
	})
}
