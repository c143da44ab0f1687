// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package ballast_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

const fanoutJSON = `{"apps": {
	"ballast": {"pools": {"web": {"backends": [{"dial": "10.0.0.1:80"}]}}},
	"http": {"servers": {"main": {"listen": [":80"], "routes": [{"handle": [%s]}]}}}
}}`

func TestFanoutJSONProvisions(t *testing.T) {
	for name, fanout := range map[string]string{
		"pool":              `{"handler": "fanout", "pool": "web"}`,
		"upstreams":         `{"handler": "fanout", "upstreams": ["10.0.0.1:80", "10.0.0.2:80"]}`,
		"all options":       `{"handler": "fanout", "pool": "web", "name": "a", "expect": ["201"], "quorum": "majority", "retries": 0, "backoff": {"base": "1s", "max": "2s", "jitter": 0}, "timeout": "1m", "max_body": 10, "respond": "summary", "idempotency_header": "x-key", "detach": true, "max_requests": 1, "max_bytes": 10, "transport": {"protocol": "http"}}`,
		"null for defaults": `{"handler": "fanout", "pool": "web", "backoff": null, "retries": null, "expect": null}`,
		"a long base":       `{"handler": "fanout", "pool": "web", "backoff": {"base": "2m"}}`,
		"a large body":      `{"handler": "fanout", "pool": "web", "max_body": 1073741824}`,
		"a number of many":  `{"handler": "fanout", "upstreams": ["10.0.0.1:8001-8003"], "quorum": "3"}`,
		"a pool may grow":   `{"handler": "fanout", "pool": "web", "quorum": "9"}`,
		"two of one name":   `{"handler": "fanout", "pool": "web", "name": "a"}, {"handler": "fanout", "pool": "web", "name": "a", "retries": 1}`,
		"two without":       `{"handler": "fanout", "pool": "web"}, {"handler": "fanout", "pool": "web"}`,
		"named as others":   `{"handler": "fanout", "pool": "web"}, {"handler": "fanout", "upstreams": ["a:1"], "name": "web"}`,
	} {
		t.Run(name, func(t *testing.T) {
			if err := lbtest.Validate(fmt.Appendf(nil, fanoutJSON, fanout)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestFanoutJSONRefused(t *testing.T) {
	for name, tt := range map[string]struct{ options, want string }{
		"nothing":             {`"retries": 1`, "fanout has no backends; name a pool, or upstreams"},
		"both":                {`"pool": "web", "upstreams": ["a:1"]`, "fanout has both a pool and upstreams; write one of them"},
		"unknown field":       {`"pool": "web", "retry": 1`, `unknown field "retry"`},
		"unknown pool":        {`"pool": "nowhere"`, `there is no pool "nowhere" in the ballast global option; write one of: web`},
		"empty upstream":      {`"upstreams": [""]`, "an upstream is empty; write host:port"},
		"bad upstream":        {`"upstreams": ["a:0"]`, "port must be from 1 to 65535"},
		"bad code":            {`"pool": "web", "expect": ["2x"]`, `expect must be codes such as 204, 2xx or 200-399, got "2x"`},
		"bad quorum":          {`"pool": "web", "quorum": "most"`, `quorum must be all, majority or a whole number of at least 1, got "most"`},
		"quorum of too many":  {`"upstreams": ["a:1-2"], "quorum": "3"`, "quorum 3 can never be reached with 2 upstreams"},
		"base above max":      {`"pool": "web", "backoff": {"base": "2s", "max": "1s"}`, "backoff's max must be at least its base, 2s, got 1s"},
		"fewer bytes":         {`"pool": "web", "max_bytes": 999999`, "max_bytes must be at least max_body, which is 1000000 bytes, got 999999"},
		"bad header":          {`"pool": "web", "idempotency_header": "a b"`, `idempotency_header must be the name of a header field such as Idempotency-Key, got "a b"`},
		"header of others":    {`"pool": "web", "idempotency_header": "host"`, "idempotency_header must not be Host, which has another meaning; write a field of your own such as Idempotency-Key"},
		"name with braces":    {`"pool": "web", "name": "{a}"`, "name must be readable text without braces"},
		"unknown transport":   {`"pool": "web", "transport": {"protocol": "smoke"}`, "unknown module: http.reverse_proxy.transport.smoke"},
		"transport's nothing": {`"pool": "web", "transport": {}`, "module name not specified"},
	} {
		t.Run(name, func(t *testing.T) {
			err := lbtest.Validate(fmt.Appendf(nil, fanoutJSON, `{"handler": "fanout", `+tt.options+`}`))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
