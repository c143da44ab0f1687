// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package ballast_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/ballast-lb/caddy-ballast"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// What a Caddyfile becomes, or what is said of it and where: the files named
// error_* hold what must be refused.
func TestAdapt(t *testing.T) { lbtest.Adapt(t, "testdata/adapt/*.caddyfiletest") }

// A configuration in JSON is not seen by the Caddyfile parser.
const proxyJSON = `{"apps": {
	"ballast": {"pools": {%s}},
	"http": {"servers": {"main": {"listen": [":80"], "routes": [{"handle": [
		{"handler": "reverse_proxy", %s}
	]}]}}}
}}`

func TestJSONProvisions(t *testing.T) {
	tests := []struct{ name, pools, proxy string }{
		{
			name: "the contract's example", // as far as it exists
			pools: `"web": {
				"backends": [{"dial": "10.0.0.1:80", "id": "a", "weight": 5}, {"dial": "10.0.0.2:80", "tier": 1}],
				"sources": [{"source": "a", "name": "app.internal", "port": "80"}], "refresh": "10s",
				"health": [{"check": "http", "uri": "/health", "interval": "2s", "fails": 3}]}`,
			proxy: `"dynamic_upstreams": {"source": "pool", "name": "web"},
				"load_balancing": {"selection_policy": {"policy": "p2c", "choices": 3}, "retries": 2}`,
		},
		{
			name: "a pool of the proxy's own",
			proxy: `"dynamic_upstreams": {"source": "pool", "name": "api",
				"backends": [{"dial": "https://10.0.0.1", "weight": 0}, {"dial": "https://10.0.0.2:8443-8445", "backup": true}],
				"health": [{"check": "tcp", "send": "\\x00", "expect": "/ok/", "tls": {}, "jitter": 0, "initial": "down"}]}`,
		},
		{
			name: "weights of a plain list",
			proxy: `"upstreams": [{"dial": "10.0.0.1:80"}, {"dial": "10.0.0.2:80"}],
				"load_balancing": {"selection_policy": {"policy": "wrr", "weights": [5, 0]}}`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := lbtest.Validate(fmt.Appendf(nil, proxyJSON, tt.pools, tt.proxy)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestJSONRefused(t *testing.T) {
	const (
		pool     = `"dynamic_upstreams": {"source": "pool", "backends": [{"dial": "10.0.0.1:80"}]}`
		backends = `"dynamic_upstreams": {"source": "pool", "backends": [%s]}`
		health   = `"dynamic_upstreams": {"source": "pool", "backends": [{"dial": "10.0.0.1:80"}], "health": [%s]}`
		policy   = `"upstreams": [{"dial": "10.0.0.1:80"}], "load_balancing": {"selection_policy": {%s}}`
	)
	tests := []struct{ name, pools, proxy, want string }{
		{name: "unknown field", proxy: fmt.Sprintf(backends, `{"dial": "10.0.0.1:80", "wieght": 5}`), want: `unknown field "wieght"`},
		{name: "unknown pool", proxy: `"dynamic_upstreams": {"source": "pool", "name": "nowhere"}`, want: `there is no pool "nowhere", since the ballast global option defines none`},
		{name: "pool without members", pools: `"web": {}`, proxy: `"dynamic_upstreams": {"source": "pool", "name": "web"}`, want: "pool web: the pool has no members; write"},
		{name: "pool's name", pools: `"a/b": {"backends": [{"dial": "10.0.0.1:80"}]}`, proxy: pool, want: `a pool's name must be one word without colon, slash or braces, got "a/b"`},
		{name: "negative refresh", pools: `"web": {"backends": [{"dial": "10.0.0.1:80"}], "refresh": -1}`, proxy: pool, want: "refresh must not be negative"},
		{name: "bad address", proxy: fmt.Sprintf(backends, `{"dial": "10.0.0.1:0"}`), want: "port must be from 1 to 65535"},
		{name: "no address", proxy: fmt.Sprintf(backends, `{}`), want: "an address is empty; write host:port"},
		{name: "negative weight", proxy: fmt.Sprintf(backends, `{"dial": "10.0.0.1:80", "weight": -1}`), want: "weight must be from 0 to 65535, got -1"},
		{name: "large weight", proxy: fmt.Sprintf(backends, `{"dial": "10.0.0.1:80", "weight": 65536}`), want: "weight must be from 0 to 65535, got 65536"},
		{name: "negative tier", proxy: fmt.Sprintf(backends, `{"dial": "10.0.0.1:80", "tier": -1}`), want: "tier must be from 0 to 65535, got -1"},
		{name: "tier and backup", proxy: fmt.Sprintf(backends, `{"dial": "10.0.0.1:80", "tier": 2, "backup": true}`), want: "write backup or tier, not both"},
		{name: "duplicate address", proxy: fmt.Sprintf(backends, `{"dial": "10.0.0.1:80"}, {"dial": "10.0.0.1"}`), want: "backend 10.0.0.1:80 is in the pool twice"},
		{name: "duplicate id", proxy: fmt.Sprintf(backends, `{"dial": "10.0.0.1:80", "id": "a"}, {"dial": "10.0.0.2:80", "id": "a"}`), want: `id "a" is given to two backends`},
		{name: "null backend", proxy: fmt.Sprintf(backends, `null`), want: "a backend is null; write an object with its address as `dial`"},
		{name: "null pool", pools: `"web": null`, proxy: pool, want: "pool web: the pool has no members; write"},
		{name: "null check", proxy: fmt.Sprintf(health, `null`), want: "module name not specified"},
		{name: "null source", proxy: `"dynamic_upstreams": {"source": "pool", "sources": [null]}`, want: "module name not specified"},
		{name: "mixed schemes", proxy: fmt.Sprintf(backends, `{"dial": "http://10.0.0.1"}, {"dial": "https://10.0.0.2"}`), want: "must have one scheme, got http:// and https://"},
		{name: "source without a name", proxy: `"dynamic_upstreams": {"source": "pool", "sources": [{"source": "a"}]}`, want: "from a: the name to look up is missing"},
		{name: "source's port", proxy: `"dynamic_upstreams": {"source": "pool", "sources": [{"source": "a", "name": "app.internal", "port": "http"}]}`, want: `port must be from 1 to 65535, got "http"`},
		{name: "pool as source of a pool", pools: `"web": {"sources": [{"source": "pool", "backends": [{"dial": "10.0.0.1:80"}]}]}`, proxy: pool, want: "a pool cannot be the source of a pool; write its backends and sources in this one"},
		{name: "pool as source of an inline pool", proxy: `"dynamic_upstreams": {"source": "pool", "sources": [{"source": "pool", "backends": [{"dial": "10.0.0.1:80"}]}]}`, want: "a pool cannot be the source of a pool"},
		{name: "pool in multi", proxy: `"dynamic_upstreams": {"source": "multi", "sources": [{"source": "pool", "backends": [{"dial": "10.0.0.1:80"}]}]}`, want: "a pool must be reverse_proxy's own source; to combine sources, write them as `from` in the pool"},
		{name: "unknown check", proxy: fmt.Sprintf(health, `{"check": "icmp"}`), want: "unknown module: ballast.checks.icmp"},
		{name: "check without a name", proxy: fmt.Sprintf(health, `{"uri": "/"}`), want: "module name not specified"},
		{name: "check twice", proxy: fmt.Sprintf(health, `{"check": "tcp"}, {"check": "tcp", "interval": "5s"}`), want: "two checks differ in nothing but their schedule"},
		{name: "negative interval", proxy: fmt.Sprintf(health, `{"check": "tcp", "interval": -1}`), want: "interval must not be negative"},
		{name: "jitter", proxy: fmt.Sprintf(health, `{"check": "tcp", "jitter": 10}`), want: "jitter must be from 0 to 1, got 10"},
		{name: "passes", proxy: fmt.Sprintf(health, `{"check": "tcp", "passes": -1}`), want: "passes must be at least 1"},
		{name: "initial", proxy: fmt.Sprintf(health, `{"check": "tcp", "initial": "unknown"}`), want: `initial must be up or down, got "unknown"`},
		{name: "port", proxy: fmt.Sprintf(health, `{"check": "tcp", "port": 70000}`), want: "port must be from 1 to 65535"},
		{name: "expect", proxy: fmt.Sprintf(health, `{"check": "tcp", "expect": "/(/"}`), want: "expect must be a text, or a regular expression between slashes"},
		{name: "expect_status", proxy: fmt.Sprintf(health, `{"check": "http", "expect_status": ["ok"]}`), want: "expect_status must be codes such as 204, 2xx or 200-399"},
		{name: "weights beside a pool", proxy: pool + `, "load_balancing": {"selection_policy": {"policy": "wrr", "weights": [1]}}`, want: "weights do not apply to a pool; write `weight` in the pool's `backend` blocks instead"},
		{name: "too many weights", proxy: fmt.Sprintf(policy, `"policy": "wrr", "weights": [1, 2]`), want: "weights must be one for each of the 1 upstreams, got 2"},
		{name: "negative weights", proxy: fmt.Sprintf(policy, `"policy": "wrr", "weights": [-1]`), want: "weights must be from 0 to 65535, got -1"},
		{name: "no weight", proxy: fmt.Sprintf(policy, `"policy": "wrr", "weights": [0]`), want: "weights must not all be 0"},
		{name: "choices", proxy: fmt.Sprintf(policy, `"policy": "p2c", "choices": 1`), want: "choices must be from 2 to 100, got 1"},
		{name: "by", proxy: fmt.Sprintf(policy, `"policy": "least_time", "by": "body"`), want: `by must be header, last_byte or probe, got "body"`},
		{name: "by probe in a pool without checks", proxy: pool + `, "load_balancing": {"selection_policy": {"policy": "least_time", "by": "probe"}}`, want: "least_time probe needs probes; write `health` in the pool"},
		{name: "decay", proxy: fmt.Sprintf(policy, `"policy": "peak_ewma", "decay": -1`), want: "decay must not be negative"},
		{name: "choices of prequal", proxy: fmt.Sprintf(policy, `"policy": "prequal", "choices": 101`), want: "choices must be from 2 to 100, got 101"},
		{name: "hot_quantile", proxy: fmt.Sprintf(policy, `"policy": "prequal", "hot_quantile": 1`), want: "hot_quantile must be above 0 and below 1, got 1"},
		{name: "no key", proxy: fmt.Sprintf(policy, `"policy": "maglev"`), want: "the key is missing; write one of: client_ip, uri"},
		{name: "no name of a key", proxy: fmt.Sprintf(policy, `"policy": "maglev", "key": "cookie"`), want: "the key `cookie` needs a name"},
		{name: "name of no key", proxy: fmt.Sprintf(policy, `"policy": "maglev", "key": "uri", "key_name": "x"`), want: "the key `uri` takes no name"},
		{name: "bounded load", proxy: fmt.Sprintf(policy, `"policy": "maglev", "key": "uri", "bounded_load": 1`), want: "bounded_load must be a factor above 1"},
		{name: "min ring", proxy: fmt.Sprintf(policy, `"policy": "ring_hash", "key": "uri", "min_ring": -1`), want: "min_ring must be from 1 to 8388608, got -1"},
		{name: "fallback of Caddy", proxy: fmt.Sprintf(policy, `"policy": "maglev", "key": "uri", "fallback": {"policy": "first"}`), want: "first cannot be the fallback; write one of: least_request"},
		{name: "unknown fallback", proxy: fmt.Sprintf(policy, `"policy": "maglev", "key": "uri", "fallback": {"policy": "second"}`), want: "unknown module: http.reverse_proxy.selection_policies.second"},
		{name: "null fallback", proxy: fmt.Sprintf(policy, `"policy": "maglev", "key": "uri", "fallback": null`), want: "module name not specified"},
		{name: "weights of a fallback", proxy: fmt.Sprintf(policy, `"policy": "maglev", "key": "uri", "fallback": {"policy": "wrr", "weights": [1]}`), want: "weights in the fallback have no effect"},
		{name: "active checks beside a pool", proxy: pool + `, "health_checks": {"active": {"uri": "/"}}`, want: "write `health http <uri>` in the pool instead"},
		{name: "passive checks beside a pool", proxy: pool + `, "health_checks": {"passive": {"fail_duration": "1s"}}`, want: "write `health` in the pool instead"},
		{name: "circuit breaker beside a pool", proxy: pool + `, "circuit_breaker": {"type": "test"}`, want: "circuit_breaker does not see a pool's backends; remove it and write `health` in the pool instead"},
		{name: "upstreams beside a pool", proxy: pool + `, "upstreams": [{"dial": "10.0.0.9:80"}]`, want: "upstream 10.0.0.9:80 beside `dynamic pool` would never be used; write it as `to` in the pool instead"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := lbtest.Validate(fmt.Appendf(nil, proxyJSON, tt.pools, tt.proxy))
			if err == nil {
				t.Fatalf("accepted, want error %q", tt.want)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %q, want it to contain %q", err, tt.want)
			}
		})
	}
}

// breaker is a circuit breaker; Caddy has none of its own.
type breaker struct{}

func init() { caddy.RegisterModule(breaker{}) }

func (breaker) OK() bool                        { return true }
func (breaker) RecordMetric(int, time.Duration) {}

func (breaker) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.circuit_breakers.test", New: func() caddy.Module { return new(breaker) }}
}
