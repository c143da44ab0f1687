// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package ballast_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// Every duration in the configuration has bounds: 10 in JSON, which is 10ns and was
// meant to be seconds, is refused, and so is one with which arithmetic overflows.
func TestDurationsHaveBounds(t *testing.T) {
	const (
		proxy  = `{"handler": "reverse_proxy", "dynamic_upstreams": {"source": "pool", "backends": [{"dial": "10.0.0.1:80", "max_requests": 1}], %s}}`
		policy = `{"handler": "reverse_proxy", "upstreams": [{"dial": "10.0.0.1:80"}], "load_balancing": {"selection_policy": %s}}`
	)
	schedule := map[string]string{}
	for _, check := range []string{"http", "tcp", "grpc", "agent"} {
		for _, name := range []string{"interval", "timeout", "down_interval", "edge_interval"} {
			schedule["check "+check+" "+name] = fmt.Sprintf(proxy, fmt.Sprintf(`"health": [{"check": %q, "uri": "/", "port": 1, %q: %%s}]`, check, name))
			if check != "http" {
				schedule["check "+check+" "+name] = strings.Replace(schedule["check "+check+" "+name], `"uri": "/", `, "", 1)
			}
		}
	}
	handlers := map[string]string{
		"pool refresh":           fmt.Sprintf(proxy, `"refresh": %s`),
		"refresh of a source":    fmt.Sprintf(proxy, `"sources": [{"source": "a", "name": "app.internal", "refresh": %s}]`),
		"outliers interval":      fmt.Sprintf(proxy, `"outliers": {"interval": %s}`),
		"outliers stall":         fmt.Sprintf(proxy, `"outliers": {"stall": %s}`),
		"outliers eject_for":     fmt.Sprintf(proxy, `"outliers": {"eject_for": %s}`),
		"outliers max_eject_for": fmt.Sprintf(proxy, `"outliers": {"max_eject_for": %s}`),
		"slow_start window":      fmt.Sprintf(proxy, `"slow_start": {"window": %s}`),
		"retry timeout":          fmt.Sprintf(proxy, `"retry": {"tries": 1, "timeout": %s}`),
		"retry backoff":          fmt.Sprintf(proxy, `"retry": {"tries": 1, "backoff": %s}`),
		"retry max_backoff":      fmt.Sprintf(proxy, `"retry": {"tries": 1, "max_backoff": %s}`),
		"retry retry_after":      fmt.Sprintf(proxy, `"retry": {"tries": 1, "retry_after": %s}`),
		"hedge min":              fmt.Sprintf(proxy, `"hedge": {"quantile": 0.95, "min": %s}`),
		"mirror timeout":         fmt.Sprintf(proxy, `"mirror": {"ratio": 1, "to": ["10.0.0.2:80"], "timeout": %s}`),
		"steps of a rollout":     fmt.Sprintf(proxy, `"groups": [{"name": "canary", "backends": [{"dial": "10.0.0.2:80"}], "steps": [0.1], "every": %s}]`),
		"orca_report":            fmt.Sprintf(proxy, `"orca_report": %s`),
		"every of a source":      fmt.Sprintf(proxy, `"sources": [{"source": "http", "url": "http://10.0.0.2/backends", "every": %s}]`),
		"sticky store_timeout":   fmt.Sprintf(policy, `{"policy": "sticky", "header": "X-User", "store_timeout": %s}`),
		"queue timeout":          fmt.Sprintf(proxy, `"queue": {"size": 1, "timeout": %s}`),
		"sticky ttl":             fmt.Sprintf(policy, `{"policy": "sticky", "ttl": %s}`),
		"sticky max_lifetime":    fmt.Sprintf(policy, `{"policy": "sticky", "max_lifetime": %s}`),
		"sticky max_age":         fmt.Sprintf(policy, `{"policy": "sticky", "cookie": {"max_age": %s}}`),
		"decay":                  fmt.Sprintf(policy, `{"policy": "peak_ewma", "decay": %s}`),
		"shed queue":             `{"handler": "shed", "queue": {"size": 1, "timeout": %s}}`,
		"shed retry_after":       `{"handler": "shed", "retry_after": %s}`,
		"shed latency":           `{"handler": "shed", "limiter": {"limiter": "aimd", "latency": %s}}`,
		"fanout timeout":         `{"handler": "fanout", "upstreams": ["10.0.0.1:80"], "timeout": %s}`,
		"fanout backoff base":    `{"handler": "fanout", "upstreams": ["10.0.0.1:80"], "backoff": {"base": %s}}`,
		"fanout backoff max":     `{"handler": "fanout", "upstreams": ["10.0.0.1:80"], "backoff": {"max": %s}}`,
		"fanout backoff jitter":  `{"handler": "fanout", "upstreams": ["10.0.0.1:80"], "backoff": {"jitter": %s}}`,
		"ttl of registrations":   `{"handler": "pool_register", "pool": "web", "ttl": %s}`,
	}
	maps.Copy(handlers, schedule)
	fleets := map[string]string{
		"heartbeat": `{"heartbeat": %s, "store": {"module": "caddy"}}`, "wait": `{"wait": %s, "store": {"module": "caddy"}}`,
		"poll": `{"store": {"module": "caddy", "poll": %s}}`,
	}
	for name, fleet := range fleets {
		for _, d := range []string{"-1", "10", `"-1s"`, `"90s"`, `"2500000h"`} {
			err := lbtest.Validate(fmt.Appendf(nil, `{"apps": {"ballast": {"fleet": `+fleet+`}}}`, d))
			if err == nil || !strings.Contains(err.Error(), "must be a duration from") {
				t.Errorf("%s of a fleet, %v: got %v", name, d, err)
			}
		}
	}
	for name, handler := range handlers {
		for _, d := range []string{"-1", "10", `"-1s"`, `"90000h"`, `"2500000h"`} {
			err := lbtest.Validate(fmt.Appendf(nil, `{"apps": {"ballast": {"pools": {"web": {"backends": [{"dial": "10.0.0.9:80"}]}}},
				"http": {"servers": {"main": {"listen": [":80"], "routes": [{"handle": [`+handler+`]}]}}}}}`, d))
			if err == nil || !strings.Contains(err.Error(), "must be a duration from") {
				t.Errorf("%s of %v: got %v", name, d, err)
			}
		}
	}
}
