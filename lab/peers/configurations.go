// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"fmt"
	"strings"

	"github.com/ballast-lb/caddy-ballast/lab/testbed"
)

// Pages of documentation.
const (
	haproxyPage = "docs.haproxy.org/2.6/configuration.html"
	nginxPage   = "nginx.org/en/docs/http/ngx_http_upstream_module.html"
	nginxProxy  = "nginx.org/en/docs/http/ngx_http_proxy_module.html"
	caddyPage   = "caddyserver.com/docs/caddyfile/directives/reverse_proxy"
)

// HAProxy picks the backend with the fewest connections, checks backends, ejects those with errors,
// and retries on others.
var HAProxy = &Peer{
	Name: "HAProxy", Program: "haproxy", file: "haproxy.cfg",
	args: func(file string) []string { return []string{"-db", "-f", file} },
	Settings: []Setting{
		{"balance leastconn", haproxyPage + "#4-balance"},
		{"option httpchk; check inter 500ms fall 3 rise 2", haproxyPage + "#5.2-check"},
		{"observe layer7, error-limit 5, on-error mark-down", haproxyPage + "#5.2-observe"},
		{"retries 2, option redispatch 1, retry-on conn-failure empty-response response-timeout", haproxyPage + "#4-retry-on"},
		{"timeout connect 500ms, timeout server 1s", haproxyPage + "#4-timeout%20server"},
		{"http-reuse always", haproxyPage + "#4-http-reuse"},
	},
	LimitSettings: []Setting{{"maxconn of each server, timeout queue 500ms, option abortonclose", haproxyPage + "#5.2-maxconn"}},
	config:        haproxy,
}

func haproxy(s Site, _ string) string {
	limit := ""
	if s.Limit > 0 {
		limit = fmt.Sprintf(" maxconn %d", s.Limit)
	}
	var servers strings.Builder
	for i, b := range s.Backends {
		fmt.Fprintf(&servers, "\tserver s%d %s%s\n", i+1, b, limit)
	}
	return fmt.Sprintf(`global
	maxconn 9000
defaults
	mode http
	timeout connect %[3]s
	timeout client 30s
	timeout server %[4]s
	timeout queue 500ms
	retries %[5]d
	option redispatch 1
	retry-on conn-failure empty-response response-timeout
	option abortonclose
	http-reuse always
frontend f
	bind %[1]s
	default_backend b
backend b
	balance leastconn
	option httpchk GET /health
	default-server check inter 500ms fall 3 rise 2 observe layer7 error-limit 5 on-error mark-down
%[2]s`, s.Address, servers.String(), connectTimeout, responseTimeout, retries)
}

// Nginx picks the backend with the fewest connections, ejects those with failures for a time, and
// retries on others. Active checks and a queue are only in NGINX Plus.
var Nginx = &Peer{
	Name: "nginx", Program: "nginx", file: "nginx.conf",
	args: func(file string) []string { return []string{"-c", file} },
	Settings: []Setting{
		{"least_conn", nginxPage + "#least_conn"},
		{"max_fails=3 fail_timeout=2s; no active checks without NGINX Plus", nginxPage + "#max_fails"},
		{"proxy_next_upstream error timeout, proxy_next_upstream_tries 3", nginxProxy + "#proxy_next_upstream"},
		{"proxy_connect_timeout 500ms, proxy_read_timeout 1s", nginxProxy + "#proxy_read_timeout"},
		{"keepalive 100, proxy_http_version 1.1", nginxPage + "#keepalive"},
		{"one process: several count connections and failures each for itself", nginxPage + "#zone"},
	},
	LimitSettings: []Setting{{"max_conns; no queue without NGINX Plus", nginxPage + "#max_conns"}},
	config:        nginx,
}

func nginx(s Site, dir string) string {
	limit := ""
	if s.Limit > 0 {
		limit = fmt.Sprintf(" max_conns=%d", s.Limit)
	}
	var servers strings.Builder
	for _, b := range s.Backends {
		fmt.Fprintf(&servers, "\t\tserver %s max_fails=3 fail_timeout=%s%s;\n", b, ejectTime, limit)
	}
	return fmt.Sprintf(`daemon off;
master_process off;
worker_rlimit_nofile 18000;
pid %[1]s/pid;
error_log stderr crit;
events { worker_connections 18000; }
http {
	access_log off;
	client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
	upstream b {
		least_conn;
%[3]s		keepalive 100;
	}
	server {
		listen %[2]s backlog=4096;
		keepalive_requests 1000000;
		location / {
			proxy_pass http://b;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_connect_timeout %[4]s;
			proxy_read_timeout %[5]s;
			proxy_next_upstream error timeout;
			proxy_next_upstream_tries %[6]d;
		}
	}
}
`, dir, s.Address, servers.String(), connectTimeout, responseTimeout, 1+retries)
}

// onCaddy is a Caddy with a Caddyfile.
func onCaddy(name string, settings, limits []Setting, site func(s Site) string) *Peer {
	return &Peer{
		Name: name, file: "Caddyfile", Settings: settings, LimitSettings: limits,
		args:   func(file string) []string { return []string{"run", "--config", file, "--adapter", "caddyfile"} },
		config: func(s Site, _ string) string { return testbed.Caddyfile(s.Address, "", site(s)) },
	}
}

// transport has the timeouts of all configurations.
var transport = fmt.Sprintf("transport http {\ndial_timeout %s\nresponse_header_timeout %s\n}\n", connectTimeout, responseTimeout)

// Caddy is reverse_proxy without Ballast: it picks the backend with the fewest requests, checks
// backends, ejects those with failures for a time, and retries on others.
var Caddy = onCaddy("Caddy alone", []Setting{
	{"lb_policy least_conn", caddyPage + "#load-balancing"},
	{"health_uri /health, health_interval 500ms, health_fails 3, health_passes 2", caddyPage + "#active-health-checks"},
	{"fail_duration 2s, max_fails 3", caddyPage + "#passive-health-checks"},
	{"lb_retries 2", caddyPage + "#load-balancing"},
	{"dial_timeout 500ms, response_header_timeout 1s", caddyPage + "#the-http-transport"},
}, []Setting{{"unhealthy_request_count; lb_try_duration 500ms, lb_try_interval 25ms instead of lb_retries", caddyPage + "#passive-health-checks"}}, plainCaddy)

func plainCaddy(s Site) string {
	again := fmt.Sprintf("lb_retries %d", retries)
	if s.Limit > 0 { // poll for a backend that is not full
		again = fmt.Sprintf("lb_try_duration 500ms\nlb_try_interval 25ms\nunhealthy_request_count %d", s.Limit)
	}
	return fmt.Sprintf("reverse_proxy {\nto %s\nlb_policy least_conn\n%s\nhealth_uri /health\nhealth_interval 500ms\nhealth_timeout 1s\n"+
		"health_fails 3\nhealth_passes 2\nfail_duration %s\nmax_fails 3\n%s}", strings.Join(s.Backends, " "), again, ejectTime, transport)
}

// Ballast is reverse_proxy with a pool: it picks the faster of two backends, checks backends,
// ejects outliers for a time, and retries on others. For a site with a limit it uses an adaptive
// limit, without the number.
var Ballast = onCaddy("Ballast", ballastSettings("peak_ewma"),
	[]Setting{{"shed: an adaptive limit, which is not told how many requests a backend can work on", "docs/shedding.md"}},
	func(s Site) string { return shed(s) + pool(s, "peak_ewma", "", retries) })

// shed is the adaptive limit of a site with a limit.
func shed(s Site) string {
	if s.Limit == 0 {
		return ""
	}
	return "shed\n"
}

// BallastQueue is Ballast with a limit and a queue like those of HAProxy, instead of an adaptive
// limit.
var BallastQueue = onCaddy("Ballast, max_requests", ballastSettings("p2c"),
	[]Setting{{"max_requests of each backend, queue 100 500ms; no lb_retries, since a refused request would wait again", "docs/pool.md"}},
	func(s Site) string {
		if s.Limit == 0 {
			return pool(s, "p2c", "", retries)
		}
		return pool(s, "p2c", limits(s), 0)
	})

// BallastHedge is Ballast with hedging of at most 2 % of the requests. A latency policy would avoid
// a backend for some time because of a single slow answer.
var BallastHedge = hedging("Ballast, hedge, max 2%", "2%")

// BallastHedgeMore is BallastHedge with hedging of at most 5 %.
var BallastHedgeMore = hedging("Ballast, hedge, max 5%", "5%")

func hedging(name, budget string) *Peer {
	return onCaddy(name,
		append(ballastSettings("least_request"), Setting{fmt.Sprintf("hedge 95%%, max %s: a second attempt when the first is late", budget), "docs/hedging.md"}),
		Ballast.LimitSettings,
		func(s Site) string {
			return shed(s) + pool(s, "least_request", fmt.Sprintf("hedge 95%% {\nmax %s\n}\n", budget), retries)
		})
}

// BallastRetryHedge is BallastQueue with retries and hedging.
var BallastRetryHedge = onCaddy("Ballast, max_requests, retry and hedge",
	append(ballastSettings("p2c"),
		Setting{"retry 2: on connect, reset, timeout and 502-504, timeout 750ms", "docs/retries.md"},
		Setting{"retry_budget 20%", "docs/pool.md"},
		Setting{"hedge 95%, max 2%: a second attempt when the first is late", "docs/hedging.md"}),
	BallastQueue.LimitSettings,
	func(s Site) string {
		const further = "retry 2 {\non connect reset timeout 502-504\ntimeout 750ms\n}\nretry_budget 20%\nhedge 95% {\nmax 2%\n}\n"
		if s.Limit == 0 {
			return pool(s, "p2c", further, retries)
		}
		return pool(s, "p2c", limits(s)+further, 0)
	})

// limits returns the options of a pool with a limit and a queue.
func limits(s Site) string { return fmt.Sprintf("max_requests %d\nqueue 100 500ms\n", s.Limit) }

func ballastSettings(policy string) []Setting {
	return []Setting{
		{"lb_policy " + policy, "docs/policies.md"},
		{"health http /health: interval 500ms, fails 3, passes 2", "docs/health.md"},
		{"outliers, by default: 5 errors in a row, stalls; eject_for 2s, max_eject_for 2s", "docs/outliers.md"},
		{"lb_retries 2", caddyPage + "#load-balancing"},
		{"dial_timeout 500ms, response_header_timeout 1s", caddyPage + "#the-http-transport"},
	}
}

func pool(s Site, policy, options string, retries int) string {
	return fmt.Sprintf("reverse_proxy {\ndynamic pool {\nto %s\nhealth http /health {\ninterval 500ms\ntimeout 1s\nfails 3\npasses 2\n}\n"+
		"outliers {\neject_for %[2]s\nmax_eject_for %[2]s\n}\n%[3]s}\nlb_policy %[4]s\nlb_retries %[5]d\n%[6]s}",
		strings.Join(s.Backends, " "), ejectTime, options, policy, retries, transport)
}

// All are the balancers that each scenario compares, in the order of tables.
var All = []*Peer{Ballast, Caddy, HAProxy, Nginx}
