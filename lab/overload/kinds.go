// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"strings"
)

// kinds are what is compared. All send to the backend with the fewest requests, or
// nearly, and keep connections to the backends. What waits, waits for half a second
// at most. None of them writes a log of what it refuses.
var kinds = []kind{
	caddy("caddy", "", "to %s\nlb_policy least_conn"),
	{"caddy, its own cap", "", "caddy.json", runCaddy, cappedCaddy},
	caddy("ballast, shed", "shed", "dynamic pool {\nto %s\n}"),
	caddy("ballast, max_requests", "", "dynamic pool {\nto %s\nmax_requests 10\nqueue 100 500ms\n}"),
	{"haproxy, maxconn", "haproxy", "haproxy.cfg", func(file string) []string { return []string{"-db", "-f", file} }, haproxy},
	{"nginx, max_conns", "nginx", "nginx.conf", func(file string) []string { return []string{"-c", file} }, nginx},
}

func runCaddy(file string) []string {
	if strings.HasSuffix(file, ".json") {
		return []string{"run", "--config", file}
	}
	return []string{"run", "--config", file, "--adapter", "caddyfile"}
}

// caddy is a Caddy with directives before the proxy, and options of the proxy.
func caddy(name, before, options string) kind {
	return kind{name, "", "Caddyfile", runCaddy, func(address, _ string, backends []string) string {
		host, port, _ := strings.Cut(address, ":")
		return fmt.Sprintf("{\nadmin off\nauto_https off\npersist_config off\nlog {\nlevel PANIC\n}\n}\n:%s {\nbind %s\n%s\nreverse_proxy {\n%s\n}\n}\n",
			port, host, before, fmt.Sprintf(options, strings.Join(backends, " ")))
	}}
}

// cappedCaddy has Caddy look again and again for a backend that is not full.
func cappedCaddy(address, _ string, backends []string) string {
	type object = map[string]any
	var upstreams []object
	for _, b := range backends {
		upstreams = append(upstreams, object{"dial": b, "max_requests": workers})
	}
	config, err := json.Marshal(object{
		"admin":   object{"disabled": true, "config": object{"persist": false}},
		"logging": object{"logs": object{"default": object{"level": "PANIC"}}},
		"apps": object{"http": object{"servers": object{"main": object{
			"listen": []string{address},
			"routes": []object{{"handle": []object{{
				"handler":   "reverse_proxy",
				"upstreams": upstreams,
				"load_balancing": object{
					"selection_policy": object{"policy": "least_conn"},
					"try_duration":     "500ms", "try_interval": "25ms",
				},
			}}}},
		}}}},
	})
	if err != nil {
		panic(err) // it is made of nothing else than words
	}
	return string(config)
}

func haproxy(address, _ string, backends []string) string {
	var servers strings.Builder
	for i, b := range backends {
		fmt.Fprintf(&servers, "\tserver s%d %s maxconn %d\n", i, b, workers)
	}
	return fmt.Sprintf(`global
	maxconn 9000
defaults
	mode http
	timeout connect 1s
	timeout client 30s
	timeout server 30s
	timeout queue 500ms
	option abortonclose
	http-reuse always
frontend f
	bind %s
	default_backend b
backend b
	balance leastconn
%s`, address, servers.String())
}

// nginx is one process: several would each count for themselves. Without the module
// that is sold it has no queue.
func nginx(address, dir string, backends []string) string {
	var servers strings.Builder
	for _, b := range backends {
		fmt.Fprintf(&servers, "server %s max_conns=%d max_fails=0;\n", b, workers)
	}
	return fmt.Sprintf(`
		daemon off; master_process off; worker_rlimit_nofile 18000;
		pid %[1]s/pid; error_log stderr error;
		events { worker_connections 18000; }
		http {
			access_log off;
			client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
			upstream b {
				least_conn;
				%[3]s
				keepalive 100;
			}
			server {
				listen %[2]s backlog=4096;
				keepalive_requests 1000000;
				location / {
					proxy_pass http://b;
					proxy_http_version 1.1;
					proxy_set_header Connection "";
				}
			}
		}`, dir, address, servers.String())
}
