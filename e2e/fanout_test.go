// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// store is a backend that keeps what it is sent, by the key of the request.
type store struct {
	*scripted
	mu       sync.Mutex // guards what follows
	written  map[string][]string
	tries    map[string]int
	requests int
	failed   int
	broken   bool // every other request fails, some without an answer
}

func startStore(t testing.TB, broken bool) *store {
	s := &store{scripted: startScripted(t, freeAddress(t), nil), broken: broken, written: make(map[string][]string), tries: make(map[string]int)}
	s.serves(s.write)
	return s
}

func (s *store) write(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	key := r.Header.Get("Idempotency-Key")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	s.tries[key]++
	if s.broken && s.requests%2 == 1 || err != nil {
		s.failed++
		if s.requests%4 == 1 {
			reset(w, r)
		} else {
			w.WriteHeader(http.StatusInternalServerError)
		}
		return
	}
	s.written[key] = append(s.written[key], r.Method+" "+r.URL.RequestURI()+" "+string(body))
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, "written for %s", key)
}

// Every backend has every write once, though one fails every other request, and what
// Ballast has counted is what the backends have.
func TestFanoutWritesOnceToEachBackend(t *testing.T) {
	stores := [3]*store{startStore(t, false), startStore(t, true), startStore(t, false)}
	var to []string
	for _, s := range stores {
		to = append(to, s.address)
	}
	port := freePort(t)
	c := startCaddy(t, fmt.Sprintf("ballast {\npool web {\nto %s\n}\n}", strings.Join(to, " ")), fmt.Sprintf(
		":%d {\nbind 127.0.0.1\nfanout web {\nexpect 201\nretries 100\nbackoff 10ms 100ms 5ms\ntimeout 5m\nmax_requests 1000\n}\n}", port))
	const writes, writers = 200, 10
	var wg sync.WaitGroup
	for writer := range writers {
		wg.Go(func() {
			for n := range writes / writers {
				path, body := fmt.Sprintf("/register?n=%d", n), fmt.Sprintf("user %d of %d", n, writer)
				res, err := http.Post(fmt.Sprintf("http://127.0.0.1:%d%s", port, path), "text/plain", strings.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				text, err := io.ReadAll(res.Body)
				res.Body.Close()
				key, isAnswer := strings.CutPrefix(string(text), "written for ")
				if err != nil || res.StatusCode != http.StatusCreated || !isAnswer {
					t.Errorf("got %d, %q, %v", res.StatusCode, text, err)
					return
				}
				for _, s := range stores {
					s.mu.Lock()
					if got := s.written[key]; len(got) != 1 || got[0] != "POST "+path+" "+body {
						t.Errorf("%s has %q for the key %s, want %q once", s.address, got, key, body)
					}
					s.mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	c.quiet()
	for i, s := range stores {
		counted := func(name string) int {
			return int(c.labeled("caddy_ballast_fanout_"+name, `backend="`+s.address+`"`))
		}
		if len(s.written) != writes || len(s.tries) != writes {
			t.Errorf("backend %d has %d writes and has seen %d keys, want %d", i, len(s.written), len(s.tries), writes)
		}
		if s.requests != counted("tries_total") || s.failed != counted("failures_total") || writes != counted("successes_total") || s.requests-writes != counted("retries_total") {
			t.Errorf("backend %d had %d requests, %d failures; counted are %d tries, %d failures, %d successes, %d retries", i, s.requests, s.failed,
				counted("tries_total"), counted("failures_total"), counted("successes_total"), counted("retries_total"))
		}
		if got := int(c.metric("requests_total")[s.address]); got != s.requests {
			t.Errorf("the pool counts %d requests, backend %d had %d", got, i, s.requests)
		}
		if s.broken != (s.failed > 0) {
			t.Errorf("backend %d has failed %d times", i, s.failed)
		}
	}
}

// labeled returns the value of the series with a label, summed over the others.
func (c *caddyProcess) labeled(name, label string) (sum float64) {
	c.t.Helper()
	for line := range strings.Lines(c.get("/metrics")) {
		if strings.HasPrefix(line, name+"{") && strings.Contains(line, label) {
			var n float64
			fields := strings.Fields(line)
			if _, err := fmt.Sscan(fields[len(fields)-1], &n); err != nil {
				c.t.Fatal(err)
			}
			sum += n
		}
	}
	return sum
}

// Bodies that are too large are refused before a client has sent them, and nobody
// gets any of them.
func TestFanoutBodies(t *testing.T) {
	s := startStore(t, false)
	port := freePort(t)
	c := startCaddy(t, "", fmt.Sprintf(":%d {\nbind 127.0.0.1\nfanout %s\n}", port, s.address))
	const ten = 10_000_000
	for name, head := range map[string]string{
		"declared":                  fmt.Sprintf("Content-Length: %d\r\n\r\nlittle", ten),
		"declared, waits to send":   fmt.Sprintf("Content-Length: %d\r\nExpect: 100-continue\r\n\r\n", ten),
		"in chunks, more than that": "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("10000\r\n"+strings.Repeat("x", 1<<16)+"\r\n", 16),
	} {
		conn := c.dial(port)
		go io.WriteString(conn, "POST /register HTTP/1.1\r\nHost: localhost\r\n"+head)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || res.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: got %v, %v, want a 413", name, res, err)
		}
		conn.Close()
	}
	if n := s.scripted.requests.Load(); n != 0 {
		t.Errorf("%d requests came to the backend", n)
	}
	for name, parts := range map[string][2]string{
		"in chunks":               {"Transfer-Encoding: chunked\r\n\r\n", "3\r\nthe\r\n5\r\n body\r\n0\r\n\r\n"},
		"in chunks, waits":        {"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n", "3\r\nthe\r\n5\r\n body\r\n0\r\n\r\n"},
		"declared, waits to send": {"Content-Length: 8\r\nExpect: 100-continue\r\n\r\n", "the body"},
	} {
		conn := c.dial(port)
		in := bufio.NewReader(conn)
		io.WriteString(conn, "POST /register HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: "+name+"\r\n"+parts[0])
		if strings.Contains(parts[0], "Expect") {
			if res, err := http.ReadResponse(in, nil); err != nil || res.StatusCode != http.StatusContinue {
				t.Fatalf("%s: got %v, %v, want a 100", name, res, err)
			}
		}
		io.WriteString(conn, parts[1])
		res, err := http.ReadResponse(in, nil)
		if err != nil || res.StatusCode != http.StatusCreated {
			t.Errorf("%s: got %v, %v", name, res, err)
		}
		if got := s.written[name]; len(got) != 1 || got[0] != "POST /register the body" {
			t.Errorf("%s: written %q", name, got)
		}
		conn.Close()
	}
	c.quiet()
}

func (c *caddyProcess) dial(port int) net.Conn {
	c.t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		c.t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(soon))
	return conn
}

// Backends with TLS get their own name as Host, and the client's in the header.
func TestFanoutToTLS(t *testing.T) {
	cert, _ := selfSigned(t, "app.test")
	b := startScripted(t, freeAddress(t), &tls.Config{Certificates: []tls.Certificate{*cert}})
	b.serves(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s for %s", r.Host, r.Header.Get("X-Forwarded-Host"))
	})
	port := freePort(t)
	c := startCaddy(t, "", fmt.Sprintf(":%d {\nbind 127.0.0.1\nfanout https://%s {\ntransport http {\ntls_insecure_skip_verify\n}\n}\n}", port, b.address))
	status, body := get(t, port)
	if want := fmt.Sprintf("%s for 127.0.0.1:%d", b.address, port); status != http.StatusOK || body != want {
		t.Errorf("got %d %q, want %q", status, body, want)
	}
	c.quiet()
}

// A client that leaves is seen by the backends, and what is detached and hangs is given
// up after a reload.
func TestFanoutLetsGo(t *testing.T) {
	stores := [2]*store{startStore(t, false), startStore(t, false)}
	hanging, left := make(chan struct{}, 10), make(chan struct{}, 10)
	stores[1].serves(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		hanging <- struct{}{}
		<-r.Context().Done()
		left <- struct{}{}
	})
	port, detached := freePort(t), freePort(t)
	site := ":%d {\nbind 127.0.0.1\nfanout " + stores[0].address + " " + stores[1].address + " {\ntimeout 5m\n%s\n}\n}\n"
	sites := fmt.Sprintf(site, port, "") + fmt.Sprintf(site, detached, "quorum 1\ndetach")
	c := startCaddy(t, "", sites)
	wait := func(what string, ch chan struct{}) {
		t.Helper()
		select {
		case <-ch:
		case <-time.After(soon):
			t.Fatalf("not within %v: %s", soon, what)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("http://127.0.0.1:%d/", port), strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := http.DefaultClient.Do(req)
		done <- err
	}()
	wait("the backend has the request", hanging)
	cancel()
	wait("the backend sees that the client has left", left)
	if err := <-done; err == nil {
		t.Error("the client has an answer")
	}
	res, err := http.Post(fmt.Sprintf("http://127.0.0.1:%d/", detached), "", strings.NewReader("x"))
	if err != nil || res.StatusCode != http.StatusCreated {
		t.Fatalf("got %v, %v", res, err)
	}
	res.Body.Close()
	wait("the backend has the detached request", hanging)
	if n := c.series("caddy_ballast_fanout_requests_in_flight"); n != 1 {
		t.Errorf("%v fan-outs are in flight, want 1", n)
	}
	if err := c.load("", strings.ReplaceAll(sites, "timeout 5m", "timeout 4m")); err != nil {
		t.Fatal(err)
	}
	wait("the backend is rid of the detached request", left)
	c.quiet()
}

// broadcast is what the example's ports become here.
func broadcast(t *testing.T) (sites string, at func(port int) string) {
	t.Helper()
	ports := make(map[int]int)
	var replace []string
	for _, p := range []int{8080, 8081, 8082, 9001, 9002, 9003, 9011, 9012} {
		ports[p] = freePort(t)
		replace = append(replace, fmt.Sprint(":", p), fmt.Sprint(":", ports[p]))
	}
	return strings.NewReplacer(replace...).Replace(example(t, "broadcast")), func(port int) string { return fmt.Sprint(ports[port]) }
}

// TestBroadcast has the example do what its README shows.
func TestBroadcast(t *testing.T) {
	sites, at := broadcast(t)
	global, sites, _ := strings.Cut(strings.TrimPrefix(sites[strings.Index(sites, "\n{")+1:], "{"), "\n}\n")
	c := startCaddy(t, global, sites)
	ask := func(method string, port int, path string) (int, string) {
		t.Helper()
		req, err := http.NewRequest(method, "http://127.0.0.1:"+at(port)+path, strings.NewReader("name=ada"))
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(text)
	}
	seen := make(map[string]bool)
	for range 3 {
		_, text := ask(http.MethodGet, 8080, "/")
		seen[text] = true
	}
	if len(seen) != 3 {
		t.Errorf("three reads were answered by %v, want three backends", seen)
	}
	for n := range 4 {
		if status, text := ask(http.MethodPost, 8080, "/register?hiccup="+at(9002)); status != http.StatusCreated || !strings.HasPrefix(text, "done ") {
			t.Errorf("write %d: got %d %q", n, status, text)
		}
	}
	of := func(port int, name string) int {
		return int(c.labeled("caddy_ballast_fanout_"+name, `backend="127.0.0.1:`+at(port)+`",fanout="writes"`))
	}
	for _, port := range []int{9001, 9002, 9003} {
		if of(port, "successes_total") != 4 {
			t.Errorf("backend %d has %d writes, want 4", port, of(port, "successes_total"))
		}
	}
	if hiccups := of(9002, "failures_total"); hiccups < 3 || hiccups > 4 || of(9001, "failures_total") != 0 {
		t.Errorf("%d hiccups in 4 writes, with one every other time", hiccups)
	}
	status, text := ask(http.MethodPost, 8081, "/changePassword?broken="+at(9002))
	var report struct {
		Have    []string
		HaveNot []string `json:"have_not"`
	}
	if err := json.Unmarshal([]byte(text), &report); err != nil || status != http.StatusBadGateway || len(report.Have) != 2 || len(report.HaveNot) != 1 {
		t.Errorf("got %d %s, %v", status, text, err)
	}
	if status, text := ask(http.MethodPost, 8082, "/changePassword?hiccup="+at(9003)); status != http.StatusOK {
		t.Errorf("got %d %s", status, text)
	}
	eventually(t, "all three have what a majority has answered", func() bool {
		return c.labeled("caddy_ballast_fanout_successes_total", `fanout="majority"`) == 3
	})
	c.quiet()
}
