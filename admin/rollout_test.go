// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// grouped serves the API of a configuration with a pool with a group, and returns its address.
func grouped(t *testing.T) string {
	t.Helper()
	p, err := lbtest.Load(t, nil, `{"transport":{"protocol":"lbtest"},"dynamic_upstreams":{"source":"pool","name":"web",`+
		`"backends":[{"dial":"a:1","id":"a"}],"groups":[{"name":"canary","backends":[{"dial":"b:1","id":"b"}],"steps":[0.05,0.5],"every":"1h","fallback":true}]}}`, nil)
	if err != nil {
		t.Fatal(err)
	}
	a := new(API)
	if err := a.Provision(p.Context()); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	for _, route := range a.Routes() {
		mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) { _ = route.Handler.ServeHTTP(w, r) })
	}
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestRolloutCommand(t *testing.T) {
	address := grouped(t)
	for _, tt := range []struct {
		args string
		want []string
	}{
		{"rollout web", []string{"GROUP", "main", "95%", "canary", "running", "5%", "1 of 2"}},
		{"rollout web --json", []string{`"name": "canary"`, `"share": 0.05`, `"fallback": true`, `"actions": [`}},
		{"rollout web canary", []string{"canary is running, with 5% of the requests", "step 1 of 5% 50%", "the next step is due in", "with 1 requests", "P95", "canary        0         0       -\n"}},
		{"rollout web canary pause", []string{"canary is paused, with 5%"}},
		{"rollout web canary pause", []string{"canary is paused"}},
		{"rollout web canary resume", []string{"canary is running"}},
		{"rollout web canary promote", []string{"canary is promoted, with 100%"}},
		{"rollout web canary abort", []string{"canary is aborted, with 0%", "an operator has aborted it"}},
		{"rollout web canary --json", []string{`"state": "aborted"`, `"reason": "an operator has aborted it"`}},
		{"show web --json", []string{`"groups": [`, `"group": "canary"`}},
		{"add web c:1 --id see --group canary --verify off", []string{"added see to web"}},
		{"explain web --json", []string{`"group": "main"`, `"passed_over": "the request goes to the main group"`}},
	} {
		out, errs, err := run(append(strings.Fields(tt.args), "--address", address)...)
		if err != nil {
			t.Errorf("%s: %v %s", tt.args, err, errs)
		}
		for _, want := range tt.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s: %q is not in\n%s", tt.args, want, out)
			}
		}
	}
	for args, want := range map[string]string{
		"rollout web canary pause":       "the rollout is aborted; resume it to begin anew",
		"rollout web canary undo":        `unknown action "undo"; write pause, resume, promote or abort`,
		"rollout web blue":               `the pool has no such group: "blue"; its groups are canary`,
		"rollout web main":               `the pool has no such group: "main"; its groups are canary`,
		"rollout nowhere":                `there is no pool "nowhere"`,
		"add web d:1 --id d --group red": `the pool has no group "red"; its groups are canary`,
	} {
		if _, errs, err := run(append(strings.Fields(args), "--address", address)...); err == nil || !strings.Contains(errs, want) {
			t.Errorf("%s: %v %s, want %q", args, err, errs, want)
		}
	}
	for body, want := range map[string]int{
		`{"action":"resume"}`: http.StatusOK, `{"action":"resume","now":1}`: http.StatusBadRequest, `{"action":7}`: http.StatusBadRequest, `{`: http.StatusBadRequest,
		`{"action":""}`: http.StatusBadRequest,
	} {
		res, err := http.Post("http://"+address+"/ballast/pools/web/rollouts/canary", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s: status %d, want %d", body, res.StatusCode, want)
		}
	}
	res, err := http.Post("http://"+address+"/ballast/pools/web/rollouts/canary", "application/json", strings.NewReader(`{"action":"promote"}`))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	res, err = http.Post("http://"+address+"/ballast/pools/web/rollouts/canary", "application/json", strings.NewReader(`{"action":"pause"}`))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusConflict {
		t.Errorf("pausing a promoted rollout: status %d", res.StatusCode)
	}
}
