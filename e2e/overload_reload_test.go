// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net"
	"testing"
)

// TestOverloadReload reloads with as many requests in flight as there may be: they
// keep their places for as long as the configuration of shed is the same, and a
// reload that is rejected changes nothing.
func TestOverloadReload(t *testing.T) {
	crews, to := startCrews(t)
	port := freePort(t)
	site := func(version, limit int) string {
		return telling(port, fmt.Sprintf("header X-Version %d\nshed fixed %d {\nname front\n}\n%s", version, limit, toPool("to"+to)))
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	c := startCaddy(t, "", site(0, 2))
	url := fmt.Sprintf("http://127.0.0.1:%d/", port)
	release := hold(crews)
	first, second := c.occupy(crews, url), c.occupy(crews, url)
	refused := 0.0
	full := func(when string) {
		t.Helper()
		client := newGetter(t, url, soon, 0).client // a connection of this configuration
		if got, err := outcomeAfterReload(client, url); got != "503 shed limit later" {
			t.Errorf("%s: a third ended as %q, %v", when, got, err)
		}
		refused++
		t.Run("series "+when, func(t *testing.T) {
			inFlight, limit, counted := c.shedding(), c.series("caddy_ballast_shed_limit"), c.series("caddy_ballast_shed_refused_total")
			if inFlight != 2 || limit != 2 || counted != refused {
				t.Errorf("%v are in flight of %v, and %v have been refused, want 2 of 2, and %v", inFlight, limit, counted, refused)
			}
		})
	}
	full("at first")
	for i := range 3 {
		if err := c.load("", site(1+i, 2)); err != nil {
			t.Fatal(err)
		}
		full("after a reload")
	}
	for i, bad := range []string{
		"\nhttp://localhost {\nshed fixed 0\n}\n",
		fmt.Sprintf("\n:%d {\nbind 127.0.0.1\nshed fixed 1 {\nname front\n}\n}\n", freePort(t)), // another front
		fmt.Sprintf("\n:%d {\nbind 127.0.0.1\nshed\nreverse_proxy {\ndynamic pool missing\n}\n}\n", freePort(t)),
		fmt.Sprintf("\nhttp://127.0.0.1:%d {\nbind 127.0.0.1\n}\n", taken.Addr().(*net.TCPAddr).Port),
	} {
		for _, limit := range []int{2, 3} { // the front of what is rejected, too
			if err := c.load("", site(10+i, limit)+bad); err == nil {
				t.Fatalf("configuration %d is accepted", i)
			}
			full(fmt.Sprintf("after rejected reload %d", i))
		}
	}
	release()
	for _, done := range []<-chan string{first, second} {
		if got := <-done; got != "200 admitted" {
			t.Errorf("one that was in flight ended as %q", got)
		}
	}
	eventually(t, "nothing is in flight", func() bool { return c.shedding() == 0 })
	client := newGetter(t, url, soon, 0).client
	if got, err := outcome(client, url); got != "200 admitted" {
		t.Errorf("the next one ended as %q, %v", got, err)
	}
	c.quiet()
}
