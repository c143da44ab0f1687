// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package peers

import (
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

var every = append([]*Peer{BallastQueue, BallastHedge, BallastHedgeMore, BallastRetryHedge}, All...)

// Each configuration has the address, all backends and the common times, and has a limit only for
// sites with one.
func TestConfigurations(t *testing.T) {
	names := make(map[string]bool)
	for _, p := range every {
		if p.Name == "" || names[p.Name] {
			t.Errorf("the name %q is not unique", p.Name)
		}
		names[p.Name] = true
		plain := Site{Address: "127.0.0.1:4711", Backends: []string{"10.0.0.1:81", "10.0.0.2:82"}}
		limited := plain
		limited.Limit = 37
		for _, s := range []Site{plain, limited} {
			text := p.config(s, "/dir")
			for _, want := range append([]string{s.Address, connectTimeout, responseTimeout}, s.Backends...) {
				if !strings.Contains(text, want) {
					t.Errorf("%s: no %s in\n%s", p.Name, want, text)
				}
			}
			if strings.Contains(text, "%!") {
				t.Errorf("%s: a verb without a value in\n%s", p.Name, text)
			}
		}
		if p.config(plain, "/dir") == p.config(limited, "/dir") {
			t.Errorf("%s: a limit changes nothing", p.Name)
		}
		if len(p.LimitSettings) == 0 {
			t.Fatalf("%s states no settings of a limit", p.Name)
		}
		adaptive := strings.HasPrefix(p.LimitSettings[0].Text, "shed") // without the number of the limit
		if !adaptive && !strings.Contains(p.config(limited, "/dir"), strconv.Itoa(limited.Limit)) {
			t.Errorf("%s: the limit is not in\n%s", p.Name, p.config(limited, "/dir"))
		}
	}
}

// The first words of each setting are in the configuration, and each has a source.
func TestSettings(t *testing.T) {
	for _, p := range every {
		s := Site{Address: "127.0.0.1:1", Backends: []string{"10.0.0.1:81"}}
		stated(t, p.Name, p.config(s, "/dir"), p.Settings)
		s.Limit = 7
		stated(t, p.Name, p.config(s, "/dir"), p.LimitSettings)
	}
}

func stated(t *testing.T, name, config string, settings []Setting) {
	t.Helper()
	if len(settings) == 0 {
		t.Errorf("%s states no settings", name)
	}
	for _, s := range settings {
		first, _, _ := strings.Cut(s.Text, " ")
		first = strings.TrimRight(first, ";:,")
		if first != "one" && !strings.Contains(config, strings.SplitN(first, "=", 2)[0]) {
			t.Errorf("%s: %q is not in\n%s", name, first, config)
		}
		if !strings.Contains(s.Source, ".") {
			t.Errorf("%s: %q has no source", name, s.Text)
		}
	}
}

// The error of a program that is not installed differs from that of one that does not start.
func TestFind(t *testing.T) {
	p := &Peer{Name: "nobody", Program: "no-such-balancer"}
	if _, err := p.Find("/caddy"); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("the error is %v", err)
	}
	if path, err := Ballast.Find("/caddy"); err != nil || path != "/caddy" {
		t.Errorf("%s, %v", path, err)
	}
	if got := p.Version("/caddy"); got != "" {
		t.Errorf("the version is %q", got)
	}
}
