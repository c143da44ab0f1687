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
		{name: "a pool without members", pools: `"web": {}`, proxy: `"dynamic_upstreams": {"source": "pool", "name": "web"}`},
		{name: "a pool with a list of no members", pools: `"web": {"backends": []}`, proxy: `"dynamic_upstreams": {"source": "pool", "name": "web"}`},
		{
			name: "sizes as text",
			proxy: `"dynamic_upstreams": {"source": "pool", "backends": [{"dial": "10.0.0.1:80"}],
				"retry": {"tries": 1, "body": "64KB"}, "mirror": {"ratio": 0.1, "to": ["10.0.0.9:80"], "body": "1 MiB"}}`,
		},
		{name: "a pool that is null", pools: `"web": null`, proxy: `"dynamic_upstreams": {"source": "pool", "name": "web"}`},
		{name: "a pool of the proxy's own without members", proxy: `"dynamic_upstreams": {"source": "pool", "health": [{"check": "tcp"}]}`},
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
		{name: "pool's name", pools: `"a/b": {"backends": [{"dial": "10.0.0.1:80"}]}`, proxy: pool, want: `a pool's name must be one word without colon, slash or braces, got "a/b"`},
		{name: "pool's empty name", pools: `"": {"backends": [{"dial": "10.0.0.1:80"}]}`, proxy: pool, want: `a pool's name must be one word without colon, slash or braces, got ""`},
		{name: "size without a unit", proxy: `"dynamic_upstreams": {"source": "pool", "backends": [{"dial": "10.0.0.1:80"}], "retry": {"tries": 1, "body": "big"}}`, want: `a size must be a number of bytes, or text such as "1MB", got "big"`},
		{name: "size too large", proxy: `"dynamic_upstreams": {"source": "pool", "backends": [{"dial": "10.0.0.1:80"}], "retry": {"tries": 1, "body": "2GB"}}`, want: "retry's body must be a size from 1 byte to 1.1 GB"},
		{name: "bad address", proxy: fmt.Sprintf(backends, `{"dial": "10.0.0.1:0"}`), want: "port must be from 1 to 65535"},
		{name: "no address", proxy: fmt.Sprintf(backends, `{}`), want: "an address is empty; write host:port"},
		{name: "field of sticky", proxy: fmt.Sprintf(policy, `"policy": "sticky", "header": "a b"`), want: `header must be the name of a header field such as X-User, got "a b"`},
		{name: "cookie of a hash", proxy: fmt.Sprintf(policy, `"policy": "maglev", "key": "cookie", "key_name": "a=b"`), want: "must be the name of a cookie such as session, got \"a=b\""},
		{name: "secret that is not there", proxy: fmt.Sprintf(policy, `"policy": "sticky", "cookie": {"secret": "{env.BALLAST_NO_SUCH}"}`), want: "secret must not have placeholders without a value, got {env.BALLAST_NO_SUCH}"},
		{name: "header that is not there", proxy: fmt.Sprintf(health, `{"check": "http", "header": {"A": "{env.BALLAST_NO_SUCH}"}}`), want: "header A must not have placeholders without a value, got {env.BALLAST_NO_SUCH}"},
		{name: "tier and backup", proxy: fmt.Sprintf(backends, `{"dial": "10.0.0.1:80", "tier": 2, "backup": true}`), want: "write backup or tier, not both"},
		{name: "limit of a fleet without one", proxy: `"dynamic_upstreams": {"source": "pool", "backends": [{"dial": "10.0.0.1:80"}], "max_requests": 5, "max_requests_fleet": true}`, want: "needs a fleet; write `fleet { store redis <address> }`"},
		{name: "backend's limit of a fleet without one", proxy: fmt.Sprintf(backends, `{"dial": "10.0.0.1:80", "max_requests": 5, "max_requests_fleet": true}`), want: "needs a fleet; write `fleet { store redis <address> }`"},
		{name: "limit of a fleet without a number", proxy: fmt.Sprintf(backends, `{"dial": "10.0.0.1:80", "max_requests_fleet": true}`), want: "a limit of the fleet must be above 0; write `max_requests <n> fleet`"},
		{name: "small spill", proxy: `"dynamic_upstreams": {"source": "pool", "backends": [{"dial": "10.0.0.1:80"}], "spill": 0.5}`, want: "spill must be a number from 1 to 1000 such as 1.4, or off, got 0.5"},
		{name: "on_down", proxy: `"dynamic_upstreams": {"source": "pool", "backends": [{"dial": "10.0.0.1:80"}], "on_down": "rebind"}`, want: `on_down must be keep or close, got "rebind"`},
		{name: "duplicate address", proxy: fmt.Sprintf(backends, `{"dial": "10.0.0.1:80"}, {"dial": "10.0.0.1"}`), want: "backend 10.0.0.1:80 is in the pool twice"},
		{name: "duplicate id", proxy: fmt.Sprintf(backends, `{"dial": "10.0.0.1:80", "id": "a"}, {"dial": "10.0.0.2:80", "id": "a"}`), want: `id "a" is used by two backends`},
		{name: "dots as an id", proxy: fmt.Sprintf(backends, `{"dial": "10.0.0.1:80", "id": ".."}`), want: `backend 10.0.0.1:80: id must not have a "." or ".." between slashes`},
		{name: "blank id", proxy: fmt.Sprintf(backends, `{"dial": "10.0.0.1:80", "id": " "}`), want: `id must not be blank, got " "`},
		{name: "invisible id", proxy: fmt.Sprintf(backends, `{"dial": "10.0.0.1:80", "id": "a\u200bb"}`), want: "id must be readable text without control and format characters"},
		{name: "dots in an address without an id", proxy: fmt.Sprintf(backends, `{"dial": "unix//run/../a.sock"}`), want: "backend unix//run/../a.sock: the address is the id"},
		{name: "dots as a pool's name", pools: `"..": {"backends": [{"dial": "10.0.0.1:80"}]}`, proxy: pool, want: `a pool's name must not be "..", which paths of the admin API cannot have`},
		{name: "invisible name of a pool", pools: `"a\u200bb": {"backends": [{"dial": "10.0.0.1:80"}]}`, proxy: pool, want: "a pool's name must be readable text without control and format characters"},
		{name: "null backend", proxy: fmt.Sprintf(backends, `null`), want: "a backend is null; write an object with its address as `dial`"},
		{name: "null check", proxy: fmt.Sprintf(health, `null`), want: "module name not specified"},
		{name: "null source", proxy: `"dynamic_upstreams": {"source": "pool", "sources": [null]}`, want: "module name not specified"},
		{name: "mixed schemes", proxy: fmt.Sprintf(backends, `{"dial": "http://10.0.0.1"}, {"dial": "https://10.0.0.2"}`), want: "must have the same scheme, got http:// and https://"},
		{name: "source without a name", proxy: `"dynamic_upstreams": {"source": "pool", "sources": [{"source": "a"}]}`, want: "from a: the name to look up is missing"},
		{name: "source's port", proxy: `"dynamic_upstreams": {"source": "pool", "sources": [{"source": "a", "name": "app.internal", "port": "http"}]}`, want: `port must be from 1 to 65535, got "http"`},
		{name: "pool as source of a pool", pools: `"web": {"sources": [{"source": "pool", "backends": [{"dial": "10.0.0.1:80"}]}]}`, proxy: pool, want: "a pool cannot be the source of a pool; write its backends and sources in this one"},
		{name: "pool as source of an inline pool", proxy: `"dynamic_upstreams": {"source": "pool", "sources": [{"source": "pool", "backends": [{"dial": "10.0.0.1:80"}]}]}`, want: "a pool cannot be the source of a pool"},
		{name: "pool in multi", proxy: `"dynamic_upstreams": {"source": "multi", "sources": [{"source": "pool", "backends": [{"dial": "10.0.0.1:80"}]}]}`, want: "a pool must be reverse_proxy's own source; to combine sources, write them as `from` in the pool"},
		{name: "unknown check", proxy: fmt.Sprintf(health, `{"check": "icmp"}`), want: "unknown module: ballast.checks.icmp"},
		{name: "check without a name", proxy: fmt.Sprintf(health, `{"uri": "/"}`), want: "module name not specified"},
		{name: "check twice", proxy: fmt.Sprintf(health, `{"check": "tcp"}, {"check": "tcp", "interval": "5s"}`), want: "two checks differ only in their schedule"},
		{name: "jitter", proxy: fmt.Sprintf(health, `{"check": "tcp", "jitter": 10}`), want: "jitter must be a ratio from 0% to 100%, got 10; in JSON, 34% is 0.34"},
		{name: "passes", proxy: fmt.Sprintf(health, `{"check": "tcp", "passes": -1}`), want: "passes must be a whole number of at least 1, got -1"},
		{name: "port", proxy: fmt.Sprintf(health, `{"check": "tcp", "port": 70000}`), want: "port must be a whole number from 1 to 65535, got 70000"},
		{name: "expect", proxy: fmt.Sprintf(health, `{"check": "tcp", "expect": "/(/"}`), want: "expect must be a text, or a regular expression between slashes"},
		{name: "expect_status", proxy: fmt.Sprintf(health, `{"check": "http", "expect_status": ["ok"]}`), want: "expect_status must be codes such as 204, 2xx or 200-399"},
		{name: "weights beside a pool", proxy: pool + `, "load_balancing": {"selection_policy": {"policy": "wrr", "weights": [1]}}`, want: "weights do not apply to a pool; write `weight` in the pool's `backend` blocks instead"},
		{name: "too many weights", proxy: fmt.Sprintf(policy, `"policy": "wrr", "weights": [1, 2]`), want: "weights must be one for each of the 1 upstreams, got 2"},
		{name: "negative weights", proxy: fmt.Sprintf(policy, `"policy": "wrr", "weights": [-1]`), want: "weights must be a whole number from 0 to 65535, got -1"},
		{name: "no weight", proxy: fmt.Sprintf(policy, `"policy": "wrr", "weights": [0]`), want: "weights must not all be 0"},
		{name: "by", proxy: fmt.Sprintf(policy, `"policy": "least_time", "by": "first"`), want: `least_time's by must be header, body, last_byte or probe, got "first"`},
		{name: "by probe in a pool without checks", proxy: pool + `, "load_balancing": {"selection_policy": {"policy": "least_time", "by": "probe"}}`, want: "least_time probe needs health checks; write `health` in the pool"},
		{name: "hot_quantile", proxy: fmt.Sprintf(policy, `"policy": "prequal", "hot_quantile": 1`), want: "hot_quantile must be a number above 0 and below 1 such as 0.84, got 1"},
		{name: "no key", proxy: fmt.Sprintf(policy, `"policy": "maglev"`), want: "the key is missing; write one of: client_ip, uri"},
		{name: "no name of a key", proxy: fmt.Sprintf(policy, `"policy": "maglev", "key": "cookie"`), want: "the key `cookie` needs a name"},
		{name: "name of no key", proxy: fmt.Sprintf(policy, `"policy": "maglev", "key": "uri", "key_name": "x"`), want: "the key `uri` takes no name"},
		{name: "bounded load", proxy: fmt.Sprintf(policy, `"policy": "maglev", "key": "uri", "bounded_load": 1`), want: "bounded_load must be a number above 1 and at most 100 such as 1.25, got 1"},
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

// The handler in front of a proxy, or several.
const shedJSON = `{"apps": {"http": {"servers": {"main": {"listen": [":80"], "routes": [{"handle": [
	%s,
	{"handler": "reverse_proxy", "upstreams": [{"dial": "10.0.0.1:80"}]}
]}]}}}}}`

func TestShedJSONProvisions(t *testing.T) {
	for name, shed := range map[string]string{
		"the contract's example":          `{"handler": "shed", "limiter": {"limiter": "gradient"}}`,
		"nothing":                         `{"handler": "shed"}`,
		"fixed":                           `{"handler": "shed", "limiter": {"limiter": "fixed", "limit": 1}}`,
		"exponential":                     `{"handler": "shed", "limiter": {"limiter": "exponential", "limit": 1000000, "slope": 0.1}}`,
		"gradient":                        `{"handler": "shed", "limiter": {"limiter": "gradient", "initial_limit": 5, "min_limit": 5, "max_limit": 5, "tolerance": 10}}`,
		"vegas":                           `{"handler": "shed", "limiter": {"limiter": "vegas", "max_limit": 10}}`,
		"aimd":                            `{"handler": "shed", "limiter": {"limiter": "aimd", "min_limit": 2000, "latency": "500ms"}}`,
		"null for the default":            `{"handler": "shed", "queue": null, "per": null, "when": null, "priorities": null}`,
		"queue":                           `{"handler": "shed", "queue": {"size": 1, "timeout": "100ms"}}`,
		"queue with the default timeout":  `{"handler": "shed", "queue": {"size": 1000000, "timeout": 0}}`,
		"priorities":                      `{"handler": "shed", "priorities": [{"level": "critical", "match": [{"path": ["/pay"]}, {"method": ["DELETE"]}]}, {"level": "background"}]}`,
		"per":                             `{"handler": "shed", "per": {"key": "header", "key_name": "X-Tenant", "max_keys": 16}}`,
		"per text":                        `{"handler": "shed", "per": {"key": "{http.request.host}/{http.request.uri.path.0}"}}`,
		"when":                            `{"handler": "shed", "when": [{"signal": "cpu", "above": 0.9}, {"signal": "pressure_memory", "above": 0.1}]}`,
		"refusals":                        `{"handler": "shed", "status": 429, "retry_after": "90s", "shadow": true}`,
		"two of one name, alike":          `{"handler": "shed", "name": "a", "status": 429}, {"handler": "shed", "status": 429, "name": "a"}`,
		"two without a name, alike":       `{"handler": "shed"}, {"handler": "shed"}`,
		"two without a name, not alike":   `{"handler": "shed"}, {"handler": "shed", "status": 429}`,
		"a name as those without it have": `{"handler": "shed"}, {"handler": "shed", "name": "gradient", "status": 429}`,
	} {
		t.Run(name, func(t *testing.T) {
			if err := lbtest.Validate(fmt.Appendf(nil, shedJSON, shed)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestShedJSONRefused(t *testing.T) {
	const (
		limiter = `{"handler": "shed", "limiter": {%s}}`
		option  = `{"handler": "shed", %s}`
	)
	tests := []struct{ name, in, shed, want string }{
		{"unknown field", option, `"statsu": 503`, `unknown field "statsu"`},
		{"unknown limiter", limiter, `"limiter": "token_bucket"`, "unknown module: ballast.limiters.token_bucket"},
		{"limiter without a name", limiter, `"limit": 10`, "module name not specified"},
		{"null limiter", option, `"limiter": null`, "module name not specified"},
		{"unknown field of a limiter", limiter, `"limiter": "fixed", "limti": 10`, `unknown field "limti"`},
		{"field of another limiter", limiter, `"limiter": "fixed", "limit": 10, "slope": 1`, `unknown field "slope"`},
		{"field of gradient in vegas", limiter, `"limiter": "vegas", "tolerance": 2`, `unknown field "tolerance"`},
		{"field of aimd in gradient", limiter, `"limiter": "gradient", "latency": "1s"`, `unknown field "latency"`},
		{"limit that is missing", limiter, `"limiter": "fixed"`, "limit must be a whole number from 1 to 1000000, got 0"},
		{"negative limit", limiter, `"limiter": "fixed", "limit": -1`, "limit must be a whole number from 1 to 1000000, got -1"},
		{"large limit", limiter, `"limiter": "fixed", "limit": 1000001`, "limit must be a whole number from 1 to 1000000, got 1000001"},
		{"limit of exponential", limiter, `"limiter": "exponential", "slope": 1`, "limit must be a whole number from 1 to 1000000, got 0"},
		{"negative slope", limiter, `"limiter": "exponential", "limit": 1, "slope": -0.3`, "slope must be a number above 0 and at most 100 such as 0.3, got -0.3"},
		{"limit of a fleet without one", limiter, `"limiter": "fixed", "limit": 10, "fleet": true`, "shed fixed <limit> fleet needs a fleet; write `fleet { store redis <address> }`"},
		{"bounds that cross", limiter, `"limiter": "vegas", "min_limit": 11, "max_limit": 10`, "min_limit must not be above max_limit, got 11 and 10"},
		{"low initial_limit", limiter, `"limiter": "aimd", "initial_limit": 9, "min_limit": 10`, "initial_limit must be from min_limit to max_limit, 10 to 1000, got 9"},
		{"high initial_limit", limiter, `"limiter": "gradient", "initial_limit": 1001`, "initial_limit must be from min_limit to max_limit, 1 to 1000, got 1001"},
		{"tolerance of 1", limiter, `"limiter": "gradient", "tolerance": 1`, "tolerance must be a number above 1 and at most 10 such as 1.5, got 1"},
		{"braces in a name", option, `"name": "{env.NAME}"`, `name must be readable text without braces, got "{env.NAME}"`},
		{"newline in a name", option, `"name": "a\nb"`, `name must be readable text without braces, got "a\nb"`},
		{"queue without a size", option, `"queue": {}`, "queue's size must be a whole number from 1 to 1000000, got 0"},
		{"null priority", option, `"priorities": [null]`, "a priority is null; write an object with its level"},
		{"unknown level", option, `"priorities": [{"level": "urgent"}]`, `priority must be one of critical, high, normal, low, background, got "urgent"`},
		{"no level", option, `"priorities": [{"match": [{"path": ["/pay"]}]}]`, `priority must be one of critical, high, normal, low, background, got ""`},
		{"unknown matcher", option, `"priorities": [{"level": "low", "match": [{"paht": ["/pay"]}]}]`, "unknown module: http.matchers.paht"},
		{"priority after a catch-all", option, `"priorities": [{"level": "low"}, {"level": "high", "match": [{"path": ["/pay"]}]}]`, "priority low matches all requests, so that later priorities match none; write it last"},
		{"per without a key", option, `"per": {}`, "per: the key is missing; write one of: client_ip, uri"},
		{"per an unknown key", option, `"per": {"key": "client"}`, `per: unknown key "client"; write one of: client_ip, uri`},
		{"per a field without a name", option, `"per": {"key": "header"}`, "per: the key `header` needs a name"},
		{"per a name of no field", option, `"per": {"key": "uri", "key_name": "x"}`, "per: the key `uri` takes no name"},
		{"null trigger", option, `"when": [null]`, "a trigger of when is null; write an object with its signal"},
		{"unknown signal", option, `"when": [{"signal": "load", "above": 0.5}]`, `when must be one of cpu, memory, pressure_cpu, pressure_memory, pressure_io, got "load"`},
		{"no ratio", option, `"when": [{"signal": "cpu"}]`, "when cpu must be a ratio above 0% and below 100%, got 0"},
		{"two of one name, not alike", `{"handler": "shed", "name": "a"}, %s`, `{"handler": "shed", "name": "a", "queue": {"size": 9}}`,
			`two shed handlers are named "a" and configured differently, but handlers with the same name share their state; write the same options, or another name`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := lbtest.Validate(fmt.Appendf(nil, shedJSON, fmt.Sprintf(tt.in, tt.shed)))
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
