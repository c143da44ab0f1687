// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

// checkWords maps words of HAProxy, nginx, Traefik and Envoy to the options of every check.
var checkWords = map[string]string{
	"inter":               "write `interval <duration>`",
	"fastinter":           "write `edge_interval <duration>`",
	"downinter":           "write `down_interval <duration>`",
	"rise":                "write `passes <n>`",
	"fall":                "write `fails <n>`",
	"max_fails":           "write `fails <n>`",
	"healthy_threshold":   "write `passes <n>`",
	"unhealthy_threshold": "write `fails <n>`",
	"health_interval":     "write `interval <duration>`",
	"health_timeout":      "write `timeout <duration>`",
	"health_port":         "write `port <n>`",
	"health_passes":       "write `passes <n>`",
	"health_fails":        "write `fails <n>`",

	"unhealthy_interval":      "write `down_interval <duration>`",
	"unhealthy_edge_interval": "write `edge_interval <duration>`",
	"healthy_edge_interval":   "write `edge_interval <duration>`",
	"interval_jitter_percent": "write `jitter <ratio>`",
	"spread_checks":           "write `jitter <ratio>`",
	"init_state":              "write `initial up|down`",
	"mandatory":               "write `initial down`",
	"alt_port":                "write `port <n>`",
	"addr":                    "a check probes its backend; write `port <n>` for another port of it",
	"health_upstream":         "a check probes its backend; write `port <n>` for another port of it",
}

// httpWords does the same for the options of HTTP checks.
var httpWords = map[string]string{
	"path":                    "write `uri <uri>`",
	"match":                   "write `expect_status <codes...>` or `expect_body <regexp>`",
	"status":                  "write `expect_status <codes...>`",
	"expected_status":         "write `expect_status <codes...>`",
	"hostname":                "write `host <host>`",
	"headers":                 "write `header <field> <value>`, one a line",
	"health_uri":              "write `health http <uri>`",
	"health_status":           "write `expect_status <codes...>`",
	"health_body":             "write `expect_body <regexp>`",
	"health_headers":          "write `header <field> <value>`, one a line",
	"health_method":           "write `method <method>`",
	"health_follow_redirects": "write `follow_redirects`",
	"health_request_body":     "write `body <text>`",
	"expected_statuses":       "write `expect_status <codes...>`",
	"rstatus":                 "write `expect_status <codes...>`",
	"string":                  "write `expect_body <regexp>`",
	"rstring":                 "write `expect_body <regexp>`",
	"check_ssl":               "write `tls`",
	"no_check_ssl":            "write `tls off`",
}

// outlierWords does the same for the options of outliers.
var outlierWords = map[string]string{
	"max_fails": "write `consecutive_errors <n>`", "error_limit": "write `consecutive_errors <n>`",
	"consecutive_5xx": "write `consecutive_errors <n>` and `error_status 5xx`", "consecutive_gateway_failure": "write `consecutive_errors <n>`",
	"fail_timeout": "write `eject_for <duration>`", "fail_duration": "write `eject_for <duration>`", "base_ejection_time": "write `eject_for <duration>`",
	"max_ejection_time": "write `max_eject_for <duration>`", "max_ejection_percent": "write `max_ejected <ratio>`",
	"unhealthy_status": "write `error_status <codes...>`", "unhealthy_latency": "write `latency <factor>`, which compares backends",
	"request_volume": "write `min_requests <n>`", "failure_percentage_request_volume": "write `min_requests <n>`",
	"failure_percentage_threshold": "write `error_ratio <ratio>`", "success_rate_stdev_factor": "write `error_ratio <ratio>` or `latency <factor>`",
	"max_failed_attempts": "write `consecutive_errors <n>`", "failure_window": "write `eject_for <duration>`",
	"on_error": "write `consecutive_errors <n>`; an ejection ends by itself",
}
