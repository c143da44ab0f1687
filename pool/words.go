// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"fmt"
	"strings"
	"sync"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
)

// Hints for the option names of HAProxy, nginx, Traefik and, where an option belongs elsewhere,
// Caddy.
const (
	inBackend  = "it is an option of a backend; write `backend <address> { ... }`, with it on a line of its own"
	inProxy    = "it is an option of reverse_proxy; write it beside `dynamic pool`, not in the pool"
	inHealth   = "it is an option of a check; write `health http <uri> { ... }`, with it on a line of its own"
	outlierFor = "write `outliers { ... }`, which is on by default, with `consecutive_errors <n>` and `eject_for <duration>`"
	policyFor  = "write `lb_policy least_request`, or another policy, in reverse_proxy beside `dynamic pool`"
	healthFor  = "write `health http <uri>` or `health tcp`"
	passesFor  = "write `health ... { ... }` with `passes <n>` and `fails <n>`"
	reserveFor = "write `backend <address> { ... }`, with `backup` or `tier <n>` on a line of its own"
	retryFor   = "write `retry <tries> { ... }`, with `on ...` on a line of its own"
	stickyFor  = "write `lb_policy sticky { ... }` in reverse_proxy, beside `dynamic pool`"
	shedFor    = "write `max_requests <n>`, or `shed` before reverse_proxy, which finds a limit"
)

// poolWords are the hints in the block of a pool.
var poolWords = map[string]string{
	"server": "write `backend <address> { ... }` or `to <address...>`", "servers": "write `to <address...>`",
	"upstream": "write `to <address...>`", "upstreams": "write `to <address...>`", "member": "write `backend <address> { ... }`",
	"maxconn": "write `max_requests <n>`", "max_conns": "write `max_requests <n>`", "maxqueue": "write `queue <size> [<timeout>]`",
	"weight": inBackend, "tier": inBackend, "backup": inBackend, "id": inBackend, "meta": inBackend,
	"rise": passesFor, "fall": passesFor, "passes": inHealth, "fails": inHealth, "inter": inHealth, "interval": inHealth, "timeout": inHealth,
	"check": healthFor, "httpchk": healthFor, "option": healthFor, "health_check": healthFor, "healthcheck": healthFor,
	"health_uri": healthFor, "health_port": healthFor, "health_interval": healthFor, "health_timeout": healthFor, "health_status": healthFor,
	"max_fails": outlierFor, "fail_timeout": outlierFor, "fail_duration": outlierFor, "observe": outlierFor, "outlier_detection": outlierFor,
	"unhealthy_status": outlierFor, "unhealthy_latency": outlierFor, "circuit_breaker": outlierFor,
	"balance": policyFor, "policy": policyFor, "least_conn": policyFor, "leastconn": policyFor, "roundrobin": policyFor, "round_robin": policyFor,
	"hash": policyFor, "ip_hash": policyFor, "random": policyFor, "sticky": policyFor, "cookie": policyFor,
	"lb_policy": inProxy, "lb_retries": inProxy, "lb_try_duration": inProxy, "lb_try_interval": inProxy, "lb_retry_match": inProxy,
	"transport": inProxy, "header_up": inProxy, "header_down": inProxy, "retries": "write `retry <tries>`",
	"on-marked-down": "write `on_down close`", "slowstart": "write `slow_start <duration>`", "resolver": "write it in `from a <name> { ... }`", "resolvers": "write it in `from a <name> { ... }`",
	"shadow": "write `mirror <ratio> <to...>`", "mirroring": "write `mirror <ratio> <to...>`", "mirrors": "write `mirror <ratio> <to...>`",
	"minconn": shedFor, "fullconn": shedFor, "stick": stickyFor, "stick_table": stickyFor, "affinity": stickyFor,
	"redispatch": retryFor, "retry_on": retryFor, "retry_policy": retryFor, "num_retries": retryFor, "proxy_next_upstream": retryFor,
	"error_limit": outlierFor, "on_error": outlierFor, "passive_health_check": outlierFor, "failover": reserveFor, "priority": reserveFor,
	"default_server": "options of all backends stand in the pool, one a line", "zone": inBackend, "strategy": policyFor, "load_balancer": policyFor,
	"keepalive": "write it in `transport http { ... }`, beside `dynamic pool`", "state": "write `persist` in the global option `ballast`",
	"healthy_panic_threshold": "write `panic <ratio>`", "overprovisioning_factor": "write `spill <factor>`, such as 1.4 for 140",
	"circuit_breakers": "write `max_requests <n>`, `queue <size>`, `retry_budget <ratio>` or `outliers { ... }`",
	"dynamic":          "write `from <source>`", "source": "write `from <source>`", "pool": "pools are not in each other; write its backends in this one",
	"canary":  "write `group <name> { ... }`, with `share <ratio>` in it",
	"split":   "write `group <name> { ... }`, with `share <ratio>` in it",
	"rollout": "write `group <name> { ... }`, with `steps <ratio...> every <duration>` in it",
}

// backendWords are the hints in the block of a backend.
var backendWords = map[string]string{
	"group":   "write the backend in `group <name> { ... }`",
	"maxconn": "write `max_requests <n>`", "max_conns": "write `max_requests <n>`", "priority": "write `tier <n>`", "name": "write `id <name>`",
	"check": "checks are for all backends; write `health` in the pool", "health": "checks are for all backends; write `health` in the pool",
	"rise": passesFor, "fall": passesFor, "inter": "checks are for all backends; write `health` in the pool, with `interval <duration>`",
	"max_fails": outlierFor, "fail_timeout": outlierFor, "slow_start": "it is for all backends; write it in the pool", "slowstart": "write `slow_start <duration>` in the pool",
	"on-marked-down": "it is for all backends; write `on_down close` in the pool", "on_down": "it is for all backends; write it in the pool",
	"address": "the address stands behind `backend`", "disabled": "write `weight 0`", "down": "write `weight 0`",
}

// appWords are the hints in the global option.
var appWords = map[string]string{
	"to": "it is an option of a pool; write `pool <name> { ... }`", "backend": "it is an option of a pool; write `pool <name> { ... }`",
	"from": "it is an option of a pool; write `pool <name> { ... }`", "health": "it is an option of a pool; write `pool <name> { ... }`",
	"upstream": "write `pool <name> { ... }`", "cluster": "write `pool <name> { ... }`",
}

// isOption reports whether an argument of `to` is an option. nginx and HAProxy write options
// after the address.
func isOption(address string) bool {
	if name, _, assigned := strings.Cut(address, "="); assigned {
		return !strings.ContainsAny(name, ".:/")
	}
	return backendOptions().Has(address)
}

// backendOptions returns the options of a backend's block for their names, made once for all addresses.
var backendOptions = sync.OnceValue(func() caddyfileutil.Options { return new(BackendConfig).options(nil) })

// blockFor returns the block in which to write the options of the last address.
func blockFor(addresses []string) string {
	if len(addresses) == 0 {
		return "`backend <address> { ... }`"
	}
	return fmt.Sprintf("`backend %s { ... }`", addresses[len(addresses)-1])
}
