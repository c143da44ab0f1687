// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"bytes"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/internal/fleet"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
)

// Whatever the parser accepts must survive the JSON it becomes.
func FuzzUnmarshalSource(f *testing.F) {
	for _, seed := range []string{
		"pool web",
		"pool web {\n to 10.0.0.1:80 [::1]:80 unix//run/app.sock\n}",
		"pool {\n to https://10.0.0.1:8443-8445\n refresh 1m\n}",
		"pool {\n backend 10.0.0.1 {\n id a\n weight 0\n tier 3\n meta zone \"eu 1\"\n meta rack 2\n }\n backend h2c://b {\n backup\n }\n}",
		"pool {\n from a app.internal 80\n from srv {\n service http\n proto tcp\n name b\n }\n}",
		"pool {\n to a\n health http /health {\n interval 1s\n jitter 0%\n header X-A b\n expect_status 2xx 404\n tls\n }\n}",
		"pool {\n to a\n health tcp {\n send \\x00\\r\\n\n expect /ok/\n initial down\n }\n}",
		"pool {\n to ::1\n backend a {\n weight -1\n }\n health icmp\n}",
		"pool {\n to a\n backend b {\n max_requests 0\n }\n max_requests 10\n queue 100 500ms\n retry_budget 20% 5\n slow_start 30s 20%\n}",
		"pool {\n to a\n health agent 99\n queue 1\n retry_budget 0%\n}",
		"pool {\n to a\n queue 1 \"\"\n}",
		"pool a b {\n}",
		"pool {",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, tokens string) {
		lbtest.Tokens(t, tokens)
		lbtest.RoundTrip(t, "http.reverse_proxy.upstreams.pool", tokens)
	})
}

// Whatever address is accepted stands for addresses of one backend each, and is
// accepted in the way it is then written.
func FuzzParseAddress(f *testing.F) {
	for _, seed := range []string{
		"10.0.0.1:80", "app.internal", ":80", "[::1]:8001-8003", "[fe80::1%eth0]:80", "::1", "tcp/a:1", "tcp6/[::1]:2", "unix//run/a.sock", "unix/@a",
		"unix//a|0600", "unix/|", "h2c://]000", "\u0130:80", "a|b:80", "a%b:80", "unix+h2c//run/a", "http://a", "https://a:8443-8445", "h2c://[::1]:1", "https://a:80", "http://a/b", "http://", "{env.A}:80",
		"udp/a:53", "fd/3", "a:0", "a:65535-65536", "a:-", "", "/", "a b:80", "A.Internal:080", "[a]:80", "a:80/x", "0.0.0.0:00080",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		dials, scheme, err := parseAddress(text)
		if err != nil {
			return
		}
		switch scheme {
		case "", "http", "https", "h2c":
		default:
			t.Errorf("%q has scheme %q", text, scheme)
		}
		if len(dials) == 0 || len(dials) > maxRange {
			t.Fatalf("%q stands for %d backends", text, len(dials))
		}
		seen := make(map[string]bool)
		for _, dial := range dials {
			if seen[dial] {
				t.Fatalf("%q gives %q twice", text, dial)
			}
			seen[dial] = true
		}
		for _, dial := range []string{dials[0], dials[len(dials)-1]} {
			na, err := caddy.ParseNetworkAddress(dial)
			if err != nil {
				t.Fatalf("%q gives %q: %v", text, dial, err)
			}
			if na.PortRangeSize() != 1 || !na.IsUnixNetwork() && (na.StartPort < 1 || na.StartPort > 65535) {
				t.Fatalf("%q gives %q, which is %+v", text, dial, na)
			}
			again, _, err := parseAddress(dial)
			if err != nil || len(again) != 1 || again[0] != dial {
				t.Fatalf("%q gives %q, and that %q (%v)", text, dial, again, err)
			}
		}
	})
}

// Whatever record of another instance is accepted has values within bounds, and is the same when it is
// written again.
func FuzzReplicatedChange(f *testing.F) {
	for key, values := range map[string][]string{
		"m|10.0.0.1:80":      {"", "{}", `{"by":"operator","instance":"lb1-00000000","added":{"id":"a","weight":3,"meta":{"k":"v"},"since":5}}`, `{"by":"registration","added":{"registered":true,"ttl_ms":30000,"since":1}}`, `{"hidden":true}`, `{"added":null}`},
		"a|10.0.0.1:80":      {`{"state":"drain"}`, `{"state":"maint","by":"operator"}`, `{"state":"down"}`, `{"weight":1}`, `{"state":"drain","for_address":true}`, `{"for_address":true,"of":"1"}`},
		"w|unix//run/a.sock": {`{"weight":0}`, `{"weight":null}`, `{"weight":1e9}`},
		"r|[::1]:80":         {`{"max_requests":0}`, `{"max_requests":2147483648}`, `{"max_requests":1,"max_requests":2}`},
		"x|a:1":              {"{}"}, "m": {"{}"}, "": {""},
	} {
		for _, value := range values {
			f.Add(key, []byte(value))
		}
	}
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		c, err := decodeChange(key, value)
		if err != nil {
			return
		}
		a, address := splitKey(key)
		if a.key(address) != key || address == "" || len(address) > maxAddress {
			t.Fatalf("accepted the key %q", key)
		}
		change := c.operatorChange(a)
		for _, o := range []*membership.Override{change.Weight, change.MaxRequests} {
			if o != nil && o.Value != nil && (*o.Value < 0 || *o.Value > math.MaxInt32) {
				t.Fatalf("%q: %d", value, *o.Value)
			}
		}
		if c.Added != nil {
			s := c.Added.Settings
			if err := errors.Join(s.Check(), s.CheckSize()); err != nil {
				t.Fatal(err)
			}
		}
		again, err := decodeChange(key, c.encode())
		if err != nil || !bytes.Equal(again.encode(), c.encode()) {
			t.Fatalf("%q becomes %q, and that %+v (%v)", value, c.encode(), again, err)
		}
	})
}

// A table accepts any records of drains, hints, changes and rollouts without a panic, and within its bound.
func FuzzRecordTable(f *testing.F) {
	f.Add("a:1|lb-1", []byte(`{"change":3,"in_flight":1,"safe":false}`), uint64(1), int64(time.Second))
	f.Add("lb-1", []byte(`{"members":3,"down":1,"ejected":2}`), uint64(1), int64(-1))
	f.Add("canary", []byte(`{"action":"abort","plan":"0.1 0.5","by":"test","reason":"errors","instance":"lb-1"}`), uint64(1), int64(time.Second))
	f.Fuzz(func(t *testing.T, key string, value []byte, version uint64, ttl int64) {
		for _, check := range []func(string, []byte) error{checkDrain, checkHint, checkChange, checkRollout} {
			table := &recordTable{check: check, most: 1, logger: zap.NewNop(), records: make(map[string]tableRecord), changed: make(map[string]bool)}
			r := fleet.Record{Key: key, Version: version, Value: value, TTL: time.Duration(ttl)}
			other := fleet.Record{Key: "other" + key, Version: version, Value: value, TTL: time.Duration(ttl)}
			table.Apply([]fleet.Record{r, r, other})
			n := 0
			table.All(func(fleet.Record) bool { n++; return true })
			if _, ok := table.get(key); n > 1 || ok && (check(key, value) != nil || ttl <= 0) {
				t.Fatalf("%d records", n)
			}
		}
	})
}
