// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPersist has Caddy killed, and then stopped, with one of three backends down
// and one ejected: the next process knows it at once.
func TestPersist(t *testing.T) {
	backends, to := startThree(t)
	one, two, ejected := backends[0], backends[1], backends[2]
	port := freePort(t)
	global := "ballast {\npersist\npool web {\nto" + to + "\n" + check("http /health", twice) + "outliers {\neject_for 5m\n}\n}\n}"
	site := fmt.Sprintf(":%d {\nbind 127.0.0.1\nreverse_proxy {\ndynamic pool web\nlb_policy wrr\nlb_retries 2\n}\n}", port)
	c := startCaddy(t, global, site)
	// serves makes requests, 200 a second, which only those wanted may answer.
	serves := func(requests int, want ...*scripted) {
		t.Helper()
		l := startLoad(t, fmt.Sprintf("http://127.0.0.1:%d/", port), 200, 0)
		l.more(requests)
		l.stop()
		l.mustNotFail()
		got := l.counts()
		for _, b := range want {
			if got[b.address] == 0 {
				t.Errorf("%s takes no requests", b.address)
			}
			delete(got, b.address)
		}
		if len(got) > 0 {
			t.Errorf("requests were answered by %v, too", got)
		}
	}
	knows := func(up, down *scripted) {
		t.Helper()
		if got := c.metric("up"); got[up.address] != 1 || got[down.address] != 0 {
			t.Errorf("up is %v, want it without %s", got, down.address)
		}
		if got := c.metric("ejected"); got[up.address] != 0 || got[down.address] != 0 || got[ejected.address] != 1 {
			t.Errorf("ejected is %v, want it of %s alone", got, ejected.address)
		}
		serves(30, up)
		if strings.Contains(c.log.String(), "cannot be used") {
			t.Error("what was kept is not understood")
		}
	}

	serves(30, one, two, ejected)
	one.probed(answer(http.StatusServiceUnavailable))
	ejected.serves(reset)
	eventually(t, "the backend is down", func() bool { return c.downs(one.address) == 1 })
	serves(30, two)
	eventually(t, "it is saved", func() bool { return c.kept(one.address, ejected.address) })
	c.kill()
	// Both work again. Probes find out later than a process that remembers nothing
	// would have sent requests.
	ejected.serves(ejected.name)
	gate := make(chan struct{})
	one.probed(answerAfter(gate))
	c.start(global, site)
	knows(two, one)
	close(gate)

	// Something else happens, and Caddy is stopped. Its configuration has run for
	// more than the 2s in which it saves nothing: the requests take that long.
	eventually(t, "the first is up", func() bool { return c.ups(one.address) == 1 })
	two.probed(answer(http.StatusServiceUnavailable))
	eventually(t, "the second is down", func() bool { return c.downs(two.address) == 1 })
	serves(500, one)
	c.stop()
	gate = make(chan struct{})
	defer close(gate)
	two.probed(answerAfter(gate))
	c.start(global, site)
	knows(one, two)
}

// kept reports whether the storage has one backend down and one ejected.
func (c *caddyProcess) kept(down, ejected string) bool {
	c.t.Helper()
	files, err := filepath.Glob(filepath.Join(c.dir, "caddy", "ballast", "state", "*.json"))
	if err != nil || len(files) > 1 {
		c.t.Fatalf("there are %v in the storage: %v", files, err)
	}
	if len(files) == 0 {
		return false
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		c.t.Fatal(err)
	}
	var state struct {
		Backends []struct {
			Address  string
			Checks   []struct{ Up *bool }
			Ejection *struct{ Until string }
		}
	}
	if err := json.Unmarshal(text, &state); err != nil {
		c.t.Fatalf("%s: %v", text, err)
	}
	isDown, isEjected := false, false
	for _, b := range state.Backends {
		isEjected = isEjected || b.Address == ejected && b.Ejection != nil
		for _, check := range b.Checks {
			isDown = isDown || b.Address == down && check.Up != nil && !*check.Up
		}
	}
	return isDown && isEjected
}
