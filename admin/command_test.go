// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	_ "github.com/ballast-lb/caddy-ballast/pool"
	_ "github.com/ballast-lb/caddy-ballast/selection"
)

// serve has a server answer with the API of a configuration with a pool, and
// returns its address.
func serve(t *testing.T) string {
	t.Helper()
	p, err := lbtest.Load(t, nil, `{"transport":{"protocol":"lbtest"},"dynamic_upstreams":{"source":"pool","name":"web",`+
		`"backends":[{"dial":"a:1","id":"a","weight":3},{"dial":"unix//run/x.sock"}],"queue":{"size":5},"max_requests":4}}`, nil)
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

// command runs `caddy ballast` with arguments.
func run(args ...string) (stdout, stderr string, err error) {
	root := &cobra.Command{Use: "ballast"}
	newCommand(root)
	var out, errs bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&errs)
	root.SetArgs(args)
	err = root.Execute()
	return out.String(), errs.String(), err
}

func TestCommands(t *testing.T) {
	address := serve(t)
	for _, tt := range []struct {
		args string
		want []string
	}{
		{"list", []string{"POOL", "web", "p2c", "2 up", "WAITING"}},
		{"list --sample 0", []string{"web"}},
		{"show web --sample 100ms", []string{"BACKEND", "a:1", "unix//run/x.sock", "up", "0/4"}},
		{"explain web", []string{"p2c chooses it", "CHANCE", "unix//run/x.sock", "in flight 0, load 0, score 0"}},
		{"explain web --uri /cart?x=1 --client-ip 192.0.2.7 --method POST --host shop.example --header X-Tenant:a --header X-Room:b", []string{"p2c"}},
		{"explain web --json", []string{`"policy": "p2c"`, `"candidates": [`}},
		{"list --address http://" + address + "/ --json", []string{`"name": "web"`}},
		{"add web c:1 --id see --weight 2 --max-requests 7 --tier 1 --zone west --meta room=east --verify off", []string{"added see to web: it is up, with weight 2"}},
		{"show web --json", []string{`"id": "see"`, `"zone": "west"`, `"room": "east"`, `"max_requests": 7`}},
		{"drain web see", []string{"see is draining: 0 requests in flight; it is safe to remove"}},
		{"drain web see --wait 5s", []string{"safe to remove"}},
		{"maint web see", []string{"see is in maintenance"}},
		{"drain web see --for address --wait 5s", []string{"see is draining, for each instance at c:1: 0 requests in flight; it is safe to remove"}},
		{"show web --sample 0", []string{"operator, for the address"}},
		{"explain web", []string{"drain: operator, for the address\n"}},
		{"maint web see --for address", []string{"see is in maintenance, for each instance at c:1: 0 requests"}},
		{"weight web see 4 --for address", []string{"see has weight 4, effective weight 4, for each instance at c:1"}},
		{"weight web see configured --for instance", []string{"see has weight 2, effective weight 2\n"}},
		{"ready web see", []string{"see is up\n"}},
		{"__complete drain web see --for ", []string{"instance", "address"}},
		{"weight web a 0", []string{"a has weight 0"}},
		{"show web --sample 0", []string{"its weight is 0"}},
		{"weight web a configured", []string{"a has weight 3"}},
		{"weight web see 9", []string{"see has weight 9, effective weight 9"}},
		{"weight web see configured", []string{"see has weight 2, effective weight 2"}},
		{"weight web unix//run/x.sock 5", []string{"weight 5"}},
		{"events --last 3 --json", []string{`"event":"backend_changed"`, `"backend":"see"`}},
		{"events web", []string{"  backend_added  web/see  address=c:1  by=operator  "}},
		{"remove web see --drain 5s", []string{"removed see from web: it was empty"}},
		{"remove web unix//run/x.sock --json", []string{`"emptied": true`}},
		{"watch --count 1", []string{"POOL", "web", "BACKEND", "a:1"}},
		{"watch web --count 2 --interval 100ms --json", []string{`"name":"web"`}},
		{"__complete list ''", []string{":"}},
		{"__complete show ", []string{"web"}},
		{"__complete drain web ", []string{"a\ta:1, up"}},
	} {
		args := append([]string{"--address", address}, strings.Split(tt.args, " ")...)
		if strings.HasPrefix(tt.args, "__") {
			args = append(args[2:], args[len(args)-1])
			args = []string{"__complete", args[1], "--address", address}
			args = append(args, strings.Split(tt.args, " ")[2:]...)
		}
		out, errs, err := run(args...)
		if err != nil {
			t.Errorf("%s: %v\n%s", tt.args, err, errs)
		}
		for _, want := range tt.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s: %q is missing in\n%s%s", tt.args, want, out, errs)
			}
		}
	}
	out, _, _ := run("--address", address, "list", "--json")
	var pools Pools
	if err := json.Unmarshal([]byte(out), &pools); err != nil || len(pools.Pools) != 1 || len(pools.Pools[0].Backends) != 1 {
		t.Errorf("%s: %v", out, err)
	}
}

// What goes wrong is said on stderr, and has an exit code of its own.
func TestCommandsThatFail(t *testing.T) {
	address := serve(t)
	for _, tt := range []struct {
		args, want string
		code       int
	}{
		{"show none", `there is no pool "none"; the pools are web`, exitUnknown},
		{"drain web none", `no such backend: "none"; its backends are a, unix//run/x.sock`, exitUnknown},
		{"watch none", `there is no pool "none"; the pools are web`, exitUnknown},
		{"add web a:1", "already has this backend: a:1", exitRefused},
		{"add web x --weight -1", "weight must be a whole number from 0 to 65535", exitRefused},
		{"weight web a x", "whole number from 0 to 65535", exitRefused},
		{"drain web a --for ever", `for must be instance or address, got "ever"`, exitRefused},
		{"weight web a 70000", "from 0 to 65535", exitRefused},
		{"watch --interval 1ms", "at least 100ms", exitRefused},
		{"events none", `there is no pool "none"; the pools are web`, exitUnknown},
		{"events --last 0", "from 1 to 500", exitRefused},
		{"events --last 501", "from 1 to 500", exitRefused},
		{"watch --count -1", "or 0 for no limit", exitRefused},
		{"explain none", `there is no pool "none"; the pools are web`, exitUnknown},
		{"explain web --uri cart", "uri must begin with a slash", exitRefused},
		{"list --adapter caddyfile", "write --config <file> as well", exitRefused},
		{"list --config " + filepath.Join(t.TempDir(), "none") + " --address=", "no such file", exitRefused},
		{"list --address 127.0.0.1:1", "cannot reach the admin endpoint at 127.0.0.1:1", exitAway},
		{"list --address unix/" + filepath.Join(t.TempDir(), "x"), "is Caddy running there?", exitAway},
		{"list --address 1:2:3", "write one such as localhost:2019", exitRefused},
	} {
		out, errs, err := run(append([]string{"--address", address}, strings.Split(tt.args, " ")...)...)
		if err == nil || out != "" || !strings.HasPrefix(errs, "Error: ") || !strings.Contains(errs, tt.want) {
			t.Errorf("%s: %q, %q, %v", tt.args, out, errs, err)
		}
		if code := codeOf(err); code != tt.code {
			t.Errorf("%s: exit code %d, want %d", tt.args, code, tt.code)
		}
	}
	for args, want := range map[string]string{
		"show":                 "0 arguments given; write ballast show <pool>",
		"add web":              "1 argument given; write ballast add <pool> <address>",
		"remove web":           "write ballast remove <pool> <backend>",
		"list web":             "write ballast list",
		"weight web a":         "write ballast weight <pool> <backend> <weight>|configured",
		"drian web a":          `there is no command "drian"; did you mean drain?`,
		"nothing":              `there is no command "nothing"; the commands are add, `,
		"drain web a --wait x": "--wait",
		"drain web a --wiat x": "unknown flag: --wiat; the flags of ballast drain are --adapter, --address, --config, --for, --help, --json, --wait",
	} {
		if _, errs, err := run(append([]string{"--address", address}, strings.Split(args, " ")...)...); err == nil || !strings.Contains(errs, want) {
			t.Errorf("%s: %v\n%s", args, err, errs)
		}
	}
}

// The address is that of the configuration file, as for caddy reload; --address takes precedence.
func TestAddressOfConfiguration(t *testing.T) {
	address := serve(t)
	file := filepath.Join(t.TempDir(), "caddy.json")
	if err := os.WriteFile(file, []byte(`{"admin":{"listen":"`+address+`"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, errs, err := run("list", "--config", file, "--json"); err != nil || !strings.Contains(out, `"web"`) {
		t.Errorf("%s%s%v", out, errs, err)
	}
	if _, errs, err := run("list", "--config", file, "--address", "127.0.0.1:1"); codeOf(err) != exitAway {
		t.Errorf("%s%v", errs, err)
	}
}

// An address without a host is one of this machine.
func TestAddressWithoutHost(t *testing.T) {
	c, err := NewClient(":24019")
	if err != nil || c.origin != "http://localhost:24019" {
		t.Errorf("%+v, %v", c, err)
	}
}

// What is left of a backend that is being drained is said when it changes, and every
// ten seconds: in an hour with one change 361 times, and not 18,000.
func TestDrainSaysWhatChanges(t *testing.T) {
	one, two := 1, 2
	at, said, p := time.Unix(0, 0), 0, new(progress)
	for n := range int(time.Hour / drainPollEvery) {
		d := Drain{Requests: 3, Sessions: &two}
		switch {
		case n == 7:
			d = Drain{Requests: 3, Sessions: &one}
		case n < 7:
			d.Sessions = nil
		}
		due := p.due(&d, at.Add(time.Duration(n)*drainPollEvery))
		if due {
			said++
		}
		if change := n == 0 || n == 7 || n == 8; change && !due {
			t.Errorf("nothing was said of look %d", n)
		}
	}
	if said < 361 || said > 363 {
		t.Errorf("said %d times", said)
	}
}

// Sessions that are not known yet are not said to be none.
func TestWhatIsLeft(t *testing.T) {
	one, idle := 1, 2.5
	for want, d := range map[string]*Drain{
		"":                                 nil,
		": 1 request in flight, 1 session": {Requests: 1, Sessions: &one},
		": 0 requests in flight, idle for 2.5s; it is safe to remove":                        {Idle: &idle, Safe: true},
		": 0 requests in flight, idle for 2.5s; the number of its sessions is not known yet": {Idle: &idle},
		": 2 requests in flight": {Requests: 2},
	} {
		if got := left(Backend{Drain: d}); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := left(Backend{Drain: &Drain{Safe: true}, Warning: "nobody serves"}); got != ": 0 requests in flight; warning: nobody serves" {
		t.Errorf("got %q of the last that serves", got)
	}
}

// codeOf returns the exit code that Caddy makes of an error, whose type it keeps to
// itself.
func codeOf(err error) int {
	if err == nil {
		return 0
	}
	for code := exitUnknown; code <= exitBusy; code++ {
		if strings.HasSuffix(err.Error(), "exiting with status "+string(rune('0'+code))) {
			return code
		}
	}
	return exitRefused
}

// An answer of something else than Ballast is said to be that.
func TestClientOfSomethingElse(t *testing.T) {
	for body, want := range map[string]string{"<html>": "is not that of Caddy's admin endpoint", `404`: "was that Caddy built with Ballast?"} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if body == "404" {
				w.WriteHeader(404)
			}
			_, _ = w.Write([]byte(body))
		}))
		c, err := NewClient(s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Pools(t.Context())
		var away *AwayError
		if err == nil || !strings.Contains(err.Error(), want) || errors.As(err, &away) {
			t.Errorf("%s: %v", body, err)
		}
		s.Close()
	}
}

// What backends say cannot do anything to a terminal.
func TestTablesAreHarmless(t *testing.T) {
	var b bytes.Buffer
	tb := newTable(&b, false)
	tb.backends(Pool{Backends: []Backend{{Settings: backend.Settings{ID: "a"}, Reason: "\x1b[2Jgone\r\n\u009b1m"}}})
	if err := tb.flush(); err != nil || strings.ContainsAny(b.String(), "\x1b\r\u009b") || strings.Count(b.String(), "\n") != 2 {
		t.Errorf("%q, %v", b.String(), err)
	}
}
