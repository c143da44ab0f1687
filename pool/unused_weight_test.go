// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/report"
)

// An operator who sets a weight that has no effect is told so, and only then: where an agent sets the
// weight of a, and where the reports of a and b are compared, but not for c, whose reports are invalid.
// A weight of 0 has an effect.
func TestUnusedWeight(t *testing.T) {
	warned := func(t *testing.T) (all string) {
		t.Helper()
		for _, b := range report.OfPool(pool.Current("web")).Backends {
			if b.Warning != "" {
				all += b.ID + ": " + b.Warning + "\n"
			}
		}
		return all
	}
	const said = "%s: the weight 3 has no effect on the backend's share of the requests, which follows %s; only weight 0 has\n"
	all := dials("a:1", "b:1", "c:1")
	set := func(t *testing.T, value float64) {
		for _, address := range []string{"a:1", "b:1", "c:1"} {
			operate(t, address, func(b *backend.Backend) { b.SetWeight(&health.AgentWeight{Value: value}) })
		}
	}
	for name, tt := range map[string]struct {
		transport, options string
		want               string
	}{
		"none":         {"lbtest", "", ""},
		"agent":        {"lbtest", `,"health":[{"check":"fakeagent","world":%q}]`, fmt.Sprintf(said, "a:1", "the weight of its agent")},
		"load reports": {"reporting", "", fmt.Sprintf(said, "a:1", "its load reports") + fmt.Sprintf(said, "b:1", "its load reports")},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				agents.Store(t.Name(), func(address string) (health.Instruction, error) {
					return health.Instruction{Weight: &health.AgentWeight{Value: 2, Relative: address != "a:1"}}, nil
				})
				options := strings.Replace(tt.options, "%q", fmt.Sprintf("%q", t.Name()), 1)
				p, err := lbtest.Load(t, nil, `{"transport":{"protocol":"`+tt.transport+`"},"load_balancing":{"selection_policy":{"policy":"wrr"}},
					"dynamic_upstreams":{"source":"pool","name":"web",`+all+options+`}}`, lbtest.Backends{
					"a:1": lbtest.Latency(0), "b:1": lbtest.Latency(0), "c:1": lbtest.Latency(0)})
				if err != nil {
					t.Fatal(err)
				}
				traffic{rate: 100, length: 12 * time.Second}.send(p)
				if got := warned(t); got != "" {
					t.Errorf("without a weight of the operator: %s", got)
				}
				set(t, 3)
				if got := warned(t); got != tt.want {
					t.Errorf("warnings %q, want %q", got, tt.want)
				}
				set(t, 0)
				if got := warned(t); strings.Contains(got, "no effect") {
					t.Errorf("with weight 0: %s", got)
				}
			})
		})
	}
}
