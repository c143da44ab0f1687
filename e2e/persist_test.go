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
		if strings.Contains(c.log.String(), "state is unusable") {
			t.Error("the saved state was refused")
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

// TestTwoProcessesOneDataDirectory has two Caddys share a data directory: neither
// undoes what was asked of the other, and each finds its own again, in whatever order
// they start.
func TestTwoProcessesOneDataDirectory(t *testing.T) {
	backends, to := startThree(t)
	one := backends[0].address
	global := "ballast {\npersist\npool web {\nto" + to + "\n}\n}"
	site := func(port int) string {
		return fmt.Sprintf(":%d {\nbind 127.0.0.1\nreverse_proxy {\ndynamic pool web\n}\n}", port)
	}
	dir := t.TempDir()
	var all [2]*caddyProcess
	var sites [2]string
	for i := range all {
		sites[i] = site(freePort(t))
		all[i] = &caddyProcess{t: t, admin: freeAddress(t), dir: t.TempDir(), data: dir}
		t.Cleanup(all[i].stop)
		all[i].start(global, sites[i])
	}
	a, b := all[0], all[1]
	state := func(c *caddyProcess) string {
		var of struct{ Admin string }
		if err := json.Unmarshal([]byte(c.get("/ballast/pools/web/backends/"+one)), &of); err != nil {
			t.Fatal(err)
		}
		return of.Admin
	}
	expect := func(when, wantA, wantB string) {
		t.Helper()
		if gotA, gotB := state(a), state(b); gotA != wantA || gotB != wantB {
			t.Errorf("%s: the first has %s, want %s, and the second %s, want %s", when, gotA, wantA, gotB, wantB)
		}
	}
	set := func(c *caddyProcess, state string) {
		t.Helper()
		req, _ := http.NewRequest("PATCH", "http://"+c.admin+"/ballast/pools/web/backends/"+one, strings.NewReader(`{"state":"`+state+`"}`))
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultClient.Do(req)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatal(res, err)
		}
		res.Body.Close()
	}
	set(a, "maint")
	set(b, "drain")
	for pattern, want := range map[string]int{"state/*.json": 2, "instance-*.lock": 2} {
		if files, err := filepath.Glob(filepath.Join(dir, "caddy", "ballast", pattern)); err != nil || len(files) != want {
			t.Errorf("there are %v in the data directory, want %d of %s", files, want, pattern)
		}
	}
	b.stop()
	a.kill()
	a.start(global, sites[0])
	b.start(global, sites[1])
	expect("one after the other", "maint", "drain")
	a.stop()
	b.kill()
	b.start(global, sites[1])
	a.start(global, sites[0])
	expect("in another order", "maint", "drain")
	set(b, "ready")
	a.stop()
	b.stop()
	a.start(global, sites[0])
	b.start(global, sites[1])
	expect("after a change", "maint", "ready")
}
