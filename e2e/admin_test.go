// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// operate sends a request to the API and returns the status and the answer.
func (c *caddyProcess) operate(method, path, body string) (status int, answer map[string]any) {
	c.t.Helper()
	res, err := c.send(method, path, body, nil)
	for range 5 { // the endpoint is handed to the next configuration just then
		if err == nil || !dropped(err) {
			break
		}
		res, err = c.send(method, path, body, nil)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil || json.Unmarshal(data, &answer) != nil {
		c.t.Fatalf("%s %s: status %d, %q, %v", method, path, res.StatusCode, data, err)
	}
	return res.StatusCode, answer
}

func (c *caddyProcess) send(method, path, body string, header http.Header) (*http.Response, error) {
	req, err := http.NewRequest(method, "http://"+c.admin+"/ballast/"+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, values := range header {
		req.Header[name] = values
	}
	return http.DefaultClient.Do(req)
}

// must is operate with a status that must come.
func (c *caddyProcess) must(want int, method, path, body string) map[string]any {
	c.t.Helper()
	status, answer := c.operate(method, path, body)
	if status != want {
		c.t.Fatalf("%s %s %s: status %d, want %d: %v", method, path, body, status, want, answer)
	}
	return answer
}

const webBackends = "pools/web/backends"

// operating is for how long TestOperators goes on, such as 1m; 10s without it.
const operating = "BALLAST_OPERATING"

// TestOperators has backends added, weighed, drained, taken into maintenance and
// removed in a loop, at 500 requests a second and with reloads meanwhile: no request
// fails, and shares are as told.
func TestOperators(t *testing.T) {
	length, err := time.ParseDuration(cmp.Or(os.Getenv(operating), "10s"))
	if err != nil {
		t.Fatal(err)
	}

	backends, to := startThree(t)
	port := freePort(t)
	global := "ballast {\npool web {\nto" + to + "\n}\n}"
	site := fmt.Sprintf(":%d {\nbind 127.0.0.1\nreverse_proxy {\ndynamic pool web\nlb_policy wrr\n}\n}", port)
	c := startCaddy(t, global, site)
	l := startLoad(t, fmt.Sprintf("http://127.0.0.1:%d/", port), 500, 3)
	eventually(t, "all backends answer", func() bool { return len(l.counts()) == 3 })
	fourth := startBackend(t, freeAddress(t))
	loops := 0
	for end := time.Now().Add(length); time.Now().Before(end); loops++ {
		i := loops
		b := backends[i%3]
		path := webBackends + "/" + url.PathEscape(b.address)
		c.must(http.StatusCreated, "POST", webBackends, fmt.Sprintf(`{"address":%q,"id":"four/th"}`, fourth.address))
		c.must(http.StatusOK, "PATCH", path, `{"state":"drain","weight":3}`)
		l.more(50)
		c.must(http.StatusOK, "PATCH", path, `{"state":"maint"}`)
		if i%4 == 0 {
			if err := c.load(global, site+fmt.Sprintf("\n# %d\nhttp://other-%d.example {\nbind 127.0.0.1\nrespond ok\n}", i, i)); err != nil {
				t.Fatal(err)
			}
		}
		before := l.counts()[fourth.address]
		eventually(t, "the backend that was added answers", func() bool { return l.counts()[fourth.address] > before })
		c.must(http.StatusOK, "PATCH", path, `{"state":"ready","weight":4}`)
		l.more(20) // that were under way
		was := l.counts()
		l.more(280)
		is, sum := l.counts(), 0
		for address := range is {
			sum += is[address] - was[address]
		}
		// 4 of 4 + 1 + 1 + 1, exact but for a cycle that was begun and a reload.
		if share := float64(is[b.address]-was[b.address]) / float64(sum); share < 0.5 || share > 0.64 {
			t.Errorf("a backend with 4/7 of the weight has %.3f of %d requests", share, sum)
		}
		c.must(http.StatusOK, "PATCH", path, `{"weight":null}`)
		if i%2 == 0 {
			gone := c.must(http.StatusOK, "DELETE", webBackends+"/four%2Fth?drain=10s", "")
			if gone["emptied"] != true {
				t.Errorf("it has left with requests in flight: %v", gone)
			}
		} else {
			c.must(http.StatusOK, "DELETE", webBackends+"/four%2Fth", "")
		}
		c.must(http.StatusOK, "DELETE", path, "")
		l.more(50)
		c.must(http.StatusCreated, "POST", webBackends, fmt.Sprintf(`{"address":%q}`, b.address))
	}
	l.stop()
	l.mustNotFail()
	sum := 0
	for _, n := range l.counts() {
		sum += n
	}
	t.Logf("%d times round, %d requests", loops, sum)
	pool := c.must(http.StatusOK, "GET", "pools/web", "")
	if all := pool["backends"].([]any); len(all) != 3 {
		t.Errorf("%d backends are left: %v", len(all), all)
	}
}

// TestRemoveUnderWay has a backend removed while it answers: the client gets all of
// the answer.
func TestRemoveUnderWay(t *testing.T) {
	first, slow := startBackend(t, freeAddress(t)), startScripted(t, freeAddress(t), nil)
	gate := make(chan struct{})
	slow.serves(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Backend", slow.address)
		io.WriteString(w, slow.address[:4])
		w.(http.Flusher).Flush()
		<-gate
		io.WriteString(w, slow.address[4:])
	})
	port := freePort(t)
	c := startCaddy(t, "", poolSite(port, "to "+slow.address, ""))
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if who, err := newGetter(t, fmt.Sprintf("http://127.0.0.1:%d/", port), soon, 0).request(); err != nil || who != slow.address {
				t.Errorf("%s, %v", who, err)
			}
		})
	}
	inFlight := func() float64 { return c.metric("requests_in_flight")[slow.address] }
	eventually(t, "all requests are under way", func() bool { return inFlight() == 20 })
	c.must(http.StatusCreated, "POST", webBackends, fmt.Sprintf(`{"address":%q}`, first.address))
	gone := c.must(http.StatusOK, "DELETE", webBackends+"/"+slow.address, "")
	if gone["in_flight"] != 20.0 || gone["emptied"] != false {
		t.Errorf("%v", gone)
	}
	close(gate)
	wg.Wait()
}

// TestOperatorsOutliveDeath has Caddy killed right after it has answered an
// operator.
func TestOperatorsOutliveDeath(t *testing.T) {
	backends, to := startThree(t)
	port := freePort(t)
	global := "ballast {\npersist\npool web {\nto" + to + "\n}\n}"
	site := fmt.Sprintf(":%d {\nbind 127.0.0.1\nreverse_proxy {\ndynamic pool web\nlb_policy wrr\n}\n}", port)
	c := startCaddy(t, global, site)
	fourth := startBackend(t, freeAddress(t))
	c.must(http.StatusOK, "PATCH", webBackends+"/"+backends[0].address, `{"state":"drain"}`)
	c.must(http.StatusOK, "DELETE", webBackends+"/"+backends[1].address, "")
	c.must(http.StatusCreated, "POST", webBackends, fmt.Sprintf(`{"address":%q,"weight":2}`, fourth.address))
	c.kill()
	c.start(global, site)
	l := startLoad(t, fmt.Sprintf("http://127.0.0.1:%d/", port), 200, 0)
	l.more(60)
	l.stop()
	l.mustNotFail()
	if got := l.counts(); len(got) != 2 || got[backends[2].address] == 0 || got[fourth.address] <= got[backends[2].address] {
		t.Errorf("served by %v", got)
	}
	if b := c.must(http.StatusOK, "GET", webBackends+"/"+backends[0].address, ""); b["state"] != "drain" {
		t.Errorf("%v", b)
	}
}

// TestCommand has a backend of a running Caddy taken out and back on the command
// line.
func TestCommand(t *testing.T) {
	b := startBackend(t, freeAddress(t))
	c := startCaddy(t, "", poolSite(freePort(t), "to "+b.address, ""))
	command := func(code int, args ...string) string {
		t.Helper()
		cmd := exec.Command(caddyBinary, append([]string{"ballast", "--address", c.admin}, args...)...)
		cmd.Env = append(os.Environ(), "HOME="+c.dir)
		out, err := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != code {
			t.Fatalf("%q: exit code %d, want %d: %v\n%s", args, got, code, err, out)
		}
		return string(out)
	}
	for _, tt := range []struct {
		code       int
		args, want string
	}{
		{0, "list", "web"}, {0, "show web", b.address}, {0, "drain web " + b.address + " --wait 10s", "warning: no backend of the pool takes new requests now"},
		{0, "show web", "drain"}, {0, "ready web " + b.address, "is up"}, {0, "weight web " + b.address + " 7", "weight 7"},
		{1, "add web 127.0.0.1:1 --id other", "127.0.0.1:1 is not alive"}, {0, "add web 127.0.0.1:1 --id other --verify off", "added other"}, {0, "remove web other --drain 1s", "it was empty"},
		{0, "watch --count 1", b.address}, {2, "show other", "no pool"}, {1, "weight web " + b.address + " x", "whole number"},
		{3, "list --address 127.0.0.1:1", "is Caddy running there?"},
	} {
		if out := command(tt.code, strings.Fields(tt.args)...); !strings.Contains(out, tt.want) {
			t.Errorf("%s: %q is missing in\n%s", tt.args, tt.want, out)
		}
	}
}

// TestAPIOfOtherOrigins has requests refused that a page of another site makes, or
// that come under another name of the host.
func TestAPIOfOtherOrigins(t *testing.T) {
	b := startBackend(t, freeAddress(t))
	c := startCaddy(t, "", poolSite(freePort(t), "to "+b.address, ""))
	for _, tt := range []struct {
		method, path, body string
		header             http.Header
		status             int
	}{
		{"GET", "pools", "", nil, 200},
		{"GET", "pools", "", http.Header{"Origin": {"http://" + c.admin}}, 200},
		{"GET", "pools", "", http.Header{"Origin": {"http://evil.example"}}, 403},
		{"GET", "metrics", "", http.Header{"Origin": {"http://evil.example"}}, 403},
		{"GET", "events", "", http.Header{"Origin": {"http://evil.example"}}, 403},
		{"POST", webBackends, `{"address":"x:1"}`, http.Header{"Origin": {"http://evil.example"}}, 403},
		{"PATCH", webBackends + "/" + b.address, `{"weight":0}`, http.Header{"Origin": {"http://evil.example"}}, 403},
		{"DELETE", webBackends + "/" + b.address, "", http.Header{"Origin": {"http://evil.example"}}, 403},
		{"DELETE", webBackends + "/" + b.address, "", http.Header{"Origin": {"null"}}, 400},
		{"POST", webBackends, `{"address":"x:1"}`, http.Header{"Sec-Fetch-Mode": {"no-cors"}}, 400},
		{"POST", webBackends, `{"address":"x:1"}`, http.Header{"Content-Type": {"text/plain"}}, 400},
	} {
		res, err := c.send(tt.method, tt.path, tt.body, tt.header)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != tt.status {
			t.Errorf("%s %s with %v: status %d, want %d", tt.method, tt.path, tt.header, res.StatusCode, tt.status)
		}
	}
	req, _ := http.NewRequest("GET", "http://"+c.admin+"/ballast/pools", nil)
	req.Host = "evil.example"
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 403 {
		t.Errorf("another host: status %d", res.StatusCode)
	}
}

// TestStreamEndsWithTheEndpoint has a stream of events end with a reload, so that
// Caddy does not wait for it, and others follow, also behind a reload that was
// rejected.
func TestStreamEndsWithTheEndpoint(t *testing.T) {
	b := startBackend(t, freeAddress(t))
	port := freePort(t)
	site := poolSite(port, "to "+b.address, "")
	c := startCaddy(t, "", site)
	listen := func() (next func() string, ended func() bool) {
		t.Helper()
		res, err := c.send("GET", "events", "", nil)
		for err != nil && dropped(err) {
			res, err = c.send("GET", "events", "", nil)
		}
		if err != nil || res.StatusCode != 200 {
			t.Fatal(res, err)
		}
		t.Cleanup(func() { res.Body.Close() })
		lines := make(chan string, 100)
		go func() {
			defer close(lines)
			for s := bufio.NewScanner(res.Body); s.Scan(); {
				if name, ok := strings.CutPrefix(s.Text(), "event: "); ok {
					lines <- name
				}
			}
		}()
		wait := func() (string, bool) {
			select {
			case name, more := <-lines:
				return name, !more
			case <-time.After(soon):
				return "nothing", false
			}
		}
		return func() string { name, _ := wait(); return name }, func() bool { _, over := wait(); return over }
	}
	change := func(weight int) {
		c.must(http.StatusOK, "PATCH", webBackends+"/"+b.address, fmt.Sprintf(`{"weight":%d}`, weight))
	}
	next, ended := listen()
	change(2)
	if name := next(); name != "backend_changed" {
		t.Errorf("got %s", name)
	}
	if err := c.load("grace_period 10s", site); err != nil {
		t.Fatal(err)
	}
	if !ended() {
		t.Error("the stream goes on after a reload")
	}
	eventually(t, "Caddy's old endpoint has stopped", func() bool { return c.log.count("stopped previous server", nil) > 0 })
	if err := c.load("", site+"\nhttp://192.0.2.1:1 {\nbind 192.0.2.1\nrespond ok\n}"); err == nil {
		t.Fatal("a configuration that cannot listen was accepted")
	}
	next, _ = listen()
	change(3)
	if name := next(); name != "backend_changed" {
		t.Errorf("got %s after a reload that was rejected", name)
	}
}

// TestRegister has a backend register itself under load, be silent, come back and
// leave: no request fails, and nobody registers without the token.
func TestRegister(t *testing.T) {
	first, second := startBackend(t, freeAddress(t)), startBackend(t, freeAddress(t))
	port := freePort(t)
	global := "ballast {\npool web {\nto " + first.address + "\n}\n}"
	site := fmt.Sprintf(":%d {\nbind 127.0.0.1\npool_register /register web {\ntoken s3cret\nttl 1s\nallow 127.0.0.0/8\n}\nreverse_proxy {\ndynamic pool web\nlb_policy wrr\n}\n}", port)
	startCaddy(t, global, site)
	register := func(method, address, token string) int {
		t.Helper()
		req, _ := http.NewRequest(method, fmt.Sprintf("http://127.0.0.1:%d/register", port), strings.NewReader(fmt.Sprintf(`{"address":%q}`, address)))
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	expect := func(want int, method, address, token string) {
		t.Helper()
		if got := register(method, address, token); got != want {
			t.Errorf("%s %s with %q: status %d, want %d", method, address, token, got, want)
		}
	}
	l := startLoad(t, fmt.Sprintf("http://127.0.0.1:%d/", port), 200, 0)
	expect(401, "POST", second.address, "wrong")
	expect(403, "POST", "192.0.2.1:80", "s3cret")
	expect(400, "POST", freeAddress(t), "s3cret") // nobody is there
	answers := func() int { return l.counts()[second.address] }
	for range 3 {
		expect(200, "POST", second.address, "s3cret")
		before := answers()
		eventually(t, "it answers", func() bool { expect(200, "POST", second.address, "s3cret"); return answers() > before+20 })
		eventually(t, "it is silent, and gets nothing", func() bool {
			before := answers()
			l.more(100)
			return answers() == before
		})
	}
	expect(200, "POST", second.address, "s3cret")
	expect(200, "DELETE", second.address, "s3cret")
	expect(404, "DELETE", second.address, "s3cret")
	before := answers()
	l.more(100)
	if n := answers() - before; n > 10 { // what was on its way
		t.Errorf("%d requests went to one that has left", n)
	}
	l.stop()
	l.mustNotFail()
}
