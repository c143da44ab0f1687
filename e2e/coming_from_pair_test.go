// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// movedSite is the site of a page of docs/coming-from, served by one of its two configurations.
type movedSite struct {
	name  string
	url   string
	state func(backend, state string) // an operator's; nil if there is none
}

// movedTest has both sites of a page before the same backends.
type movedTest struct {
	*testing.T
	dir      string
	backends map[string]*scripted // by their address on the page
	actual   *strings.Replacer
	sites    []*movedSite
}

// pageAddress is an address of a backend on a page.
var pageAddress = regexp.MustCompile(`\b10\.\d+\.\d+\.\d+:8080\b`)

// newMovedTest starts a backend for each address of a configuration.
func newMovedTest(t *testing.T, text string) *movedTest {
	m := &movedTest{T: t, dir: t.TempDir(), backends: make(map[string]*scripted)}
	var replace []string
	for _, address := range pageAddress.FindAllString(text, -1) {
		if m.backends[address] == nil {
			b := startScripted(t, freeAddress(t), nil)
			m.backends[address] = b
			b.serves(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, address) })
			replace = append(replace, address, b.address)
		}
	}
	m.actual = strings.NewReplacer(replace...)
	return m
}

// edit replaces what a test cannot have as it stands on a page. Each edit must be possible.
func (m *movedTest) edit(text string, oldNew ...string) string {
	m.Helper()
	for i := 0; i < len(oldNew); i += 2 {
		if !strings.Contains(text, oldNew[i]) {
			m.Fatalf("the page has no %q", oldNew[i])
		}
		text = strings.ReplaceAll(text, oldNew[i], oldNew[i+1])
	}
	return m.actual.Replace(text)
}

// startPeer runs a peer.
func (m *movedTest) startPeer(name, address string, command ...string) *movedSite {
	m.Helper()
	n := &foreign{t: m, address: address, command: command}
	n.start()
	m.Cleanup(n.end)
	s := &movedSite{name: name, url: "http://" + address}
	m.sites = append(m.sites, s)
	return s
}

// startCaddy runs Caddy with a whole Caddyfile of a page, whose site is www.example.com.
func (m *movedTest) startCaddy(name, text string, oldNew ...string) {
	m.Helper()
	port := freePort(m)
	text = m.edit(text, append(oldNew, "www.example.com {", fmt.Sprintf(":%d {\nbind 127.0.0.1", port))...)
	global, sites := "", text
	if strings.HasPrefix(text, "{\n") {
		global, sites, _ = strings.Cut(strings.TrimPrefix(text, "{\n"), "\n}\n")
	}
	c := startCaddy(m, global, sites)
	m.sites = append(m.sites, &movedSite{name: name, url: fmt.Sprintf("http://127.0.0.1:%d", port), state: func(backend, state string) {
		c.must(http.StatusOK, http.MethodPatch, "pools/web/backends/"+backend, `{"state":"`+state+`"}`)
	}})
}

// each runs a test with each of the two sites.
func (m *movedTest) each(name string, test func(t *testing.T, s *movedSite)) {
	for _, s := range m.sites {
		m.Run(name+"/"+s.name, func(t *testing.T) { test(t, s) })
	}
}

// client returns a client with a connection and cookies of its own.
func (m *movedTest) client() *http.Client {
	jar, _ := cookiejar.New(nil)
	c := &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}, Timeout: soon}
	return c
}

// ask returns the status, and the backend that has answered.
func (s *movedSite) ask(t testing.TB, c *http.Client, method, path string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(method, s.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Do(r)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(body)
}

// shares returns how many of n new clients each backend gets.
func (m *movedTest) shares(t testing.TB, s *movedSite, path string, n int) map[string]int {
	t.Helper()
	got := make(map[string]int)
	for range n {
		status, backend := s.ask(t, m.client(), http.MethodGet, path)
		if status != http.StatusOK {
			backend = fmt.Sprint(status)
		}
		got[backend]++
	}
	return got
}

func (m *movedTest) expectShares(t testing.TB, s *movedSite, path string, want map[string]int) {
	t.Helper()
	n := 0
	for _, of := range want {
		n += of
	}
	if got := m.shares(t, s, path, n); !maps.Equal(got, want) {
		t.Errorf("shares %v, want %v", got, want)
	}
}

// eventuallyOnly waits until four new clients in a row reach one backend.
func (m *movedTest) eventuallyOnly(t testing.TB, s *movedSite, path, backend string) {
	t.Helper()
	eventually(t, "all requests reach "+backend, func() bool { return m.shares(t, s, path, 4)[backend] == 4 })
}

// fill sends n requests at a time to a path that both backends hold, and returns how many
// got which status, and how many each backend has had at most.
func (m *movedTest) fill(t *testing.T, s *movedSite, path string, n int, backends ...string) (statuses map[int]int, most []int64) {
	t.Helper()
	gate := make(chan struct{})
	var inFlight, peak [2]atomic.Int64
	for i, b := range backends {
		name := m.backends[b].serve.Load().(http.HandlerFunc)
		m.backends[b].serves(func(w http.ResponseWriter, r *http.Request) {
			now := inFlight[i].Add(1)
			defer inFlight[i].Add(-1)
			for was := peak[i].Load(); now > was && !peak[i].CompareAndSwap(was, now); was = peak[i].Load() {
			}
			<-gate
		})
		defer m.backends[b].serves(name)
	}
	statuses = make(map[int]int)
	var mu sync.Mutex
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			status, _ := s.ask(t, m.client(), http.MethodGet, path)
			mu.Lock()
			statuses[status]++
			mu.Unlock()
		})
	}
	eventually(t, "all beyond the limit are refused", func() bool {
		mu.Lock()
		defer mu.Unlock()
		refused := 0
		for _, of := range statuses {
			refused += of
		}
		return refused == n-40 && inFlight[0].Load()+inFlight[1].Load() == 40
	})
	close(gate)
	all.Wait()
	return statuses, []int64{peak[0].Load(), peak[1].Load()}
}

// TestComingFromHAProxy compares both configurations of the page.
func TestComingFromHAProxy(t *testing.T) {
	path := program(t, "haproxy")
	t.Parallel() // it waits for most of the time
	before := comingFrom(t, "haproxy", "haproxy")[0]
	after := comingFrom(t, "haproxy", "caddyfile")[0]
	m := newMovedTest(t, before)
	const one, two, sorry, api1, api2 = "10.0.0.11:8080", "10.0.0.12:8080", "10.0.9.9:8080", "10.0.1.11:8080", "10.0.1.12:8080"

	address, socket := freeAddress(t), filepath.Join(m.dir, "admin.sock")
	config := write(t, m.dir, "haproxy.cfg", m.edit(before,
		"maxconn 20000", "maxconn 1000", "/run/haproxy/admin.sock", socket, "bind :80\n", "bind "+address+"\n", "\tbind :443 ssl crt /etc/haproxy/site.pem\n", "",
		"\tredirect scheme https unless { ssl_fc }\n", "", "bind 127.0.0.1:8404", "bind "+freeAddress(t),
		"inter 2s fastinter 500ms", "inter 200ms fastinter 100ms", " slowstart 30s", "")) // a ramp has small shares
	haproxy := m.startPeer("haproxy", address, path, "-db", "-f", config)
	haproxy.state = func(backend, state string) {
		t.Helper()
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "set server web/%s state %s\n", backend, state)
		if answer, _ := io.ReadAll(conn); len(strings.TrimSpace(string(answer))) > 0 {
			t.Fatalf("%s", answer)
		}
	}
	m.startCaddy("ballast", after, "edge_interval 500ms", "interval 200ms\nedge_interval 100ms", "slow_start 30s", "")

	m.each("weights", func(t *testing.T, s *movedSite) {
		m.expectShares(t, s, "/", map[string]int{one: 30, two: 10})
	})
	m.each("sessions", func(t *testing.T, s *movedSite) {
		client := m.client()
		_, home := s.ask(t, client, http.MethodGet, "/")
		cookies := make(chan string, 8)
		serves := m.backends[home].serve.Load().(http.HandlerFunc)
		m.backends[home].serves(func(w http.ResponseWriter, r *http.Request) {
			cookies <- r.Header.Get("Cookie")
			serves(w, r)
		})
		defer m.backends[home].serves(serves)
		for range 8 {
			if _, backend := s.ask(t, client, http.MethodGet, "/"); backend != home {
				t.Fatalf("the session of %s is served by %s", home, backend)
			}
			if cookie := <-cookies; cookie != "" {
				t.Fatalf("the backend gets the cookie %s", cookie)
			}
		}
	})
	m.each("drain and maint", func(t *testing.T, s *movedSite) {
		client := m.client()
		_, home := s.ask(t, client, http.MethodGet, "/")
		id, other := "web1", two
		if home == two {
			id, other = "web2", one
		}
		s.state(id, "drain")
		m.expectShares(t, s, "/", map[string]int{other: 8})
		if _, backend := s.ask(t, client, http.MethodGet, "/"); backend != home {
			t.Errorf("a draining backend has lost its session to %s", backend)
		}
		s.state(id, "maint")
		if _, backend := s.ask(t, client, http.MethodGet, "/"); backend != other {
			t.Errorf("a session of a backend in maintenance is served by %s", backend)
		}
		s.state(id, "ready")
	})
	m.each("rise and fall", func(t *testing.T, s *movedSite) {
		var failed, passed atomic.Int64
		mine := func(r *http.Request) bool { return (r.UserAgent() == "Caddy-Ballast") == (s.name == "ballast") }
		m.eventuallyBoth(t, s, one, two)
		m.backends[two].probed(func(w http.ResponseWriter, r *http.Request) {
			if mine(r) {
				failed.Add(1)
			}
			w.WriteHeader(http.StatusServiceUnavailable)
		})
		m.eventuallyOnly(t, s, "/", one)
		if n := failed.Load(); n < 3 {
			t.Errorf("it is down after %d failures, want 3", n)
		}
		m.backends[two].probed(func(w http.ResponseWriter, r *http.Request) {
			if mine(r) {
				passed.Add(1)
			}
		})
		eventually(t, "it is up", func() bool { return m.shares(t, s, "/", 1)[two] == 1 })
		if n := passed.Load(); n < 2 {
			t.Errorf("it is up after %d passes, want 2", n)
		}
	})
	m.each("limits", func(t *testing.T, s *movedSite) {
		start := time.Now()
		statuses, most := m.fill(t, s, "/api/held", 60, api1, api2)
		if waited := time.Since(start); waited < time.Second {
			t.Errorf("the refused have waited for %v, want 1s", waited)
		}
		if !maps.Equal(statuses, map[int]int{200: 40, 503: 20}) || most[0] != 20 || most[1] != 20 {
			t.Errorf("statuses %v, at most %v at a time", statuses, most)
		}
	})
	m.each("retries", func(t *testing.T, s *movedSite) {
		serves := m.backends[api1].serve.Load().(http.HandlerFunc)
		m.backends[api1].serves(answer(http.StatusServiceUnavailable))
		m.expectShares(t, s, "/api/", map[string]int{api2: 4})
		m.backends[api1].serves(serves)
	})
	m.backends[api1].stop()
	m.each("refused connections", func(t *testing.T, s *movedSite) {
		m.expectShares(t, s, "/api/", map[string]int{api2: 8})
	})
	m.backends[one].stop()
	m.each("one is left", func(t *testing.T, s *movedSite) { m.eventuallyOnly(t, s, "/", two) })
	m.backends[two].stop()
	m.each("backup", func(t *testing.T, s *movedSite) { m.eventuallyOnly(t, s, "/", sorry) })
	m.backends[two].start()
	m.each("a backend is back", func(t *testing.T, s *movedSite) { m.eventuallyOnly(t, s, "/", two) })
}

// eventuallyBoth waits until eight new clients reach both backends and no other.
func (m *movedTest) eventuallyBoth(t testing.TB, s *movedSite, one, two string) {
	t.Helper()
	eventually(t, "both backends serve", func() bool {
		got := m.shares(t, s, "/", 8)
		return got[one] > 0 && got[two] > 0 && got[one]+got[two] == 8
	})
}

// TestComingFromNginx compares both configurations of the page.
func TestComingFromNginx(t *testing.T) {
	path := program(t, "nginx")
	t.Parallel() // it waits for most of the time
	before := comingFrom(t, "nginx", "nginx")[0]
	after := comingFrom(t, "nginx", "caddyfile")[0]
	m := newMovedTest(t, before)
	const one, two, spare, api1, api2 = "10.0.0.11:8080", "10.0.0.12:8080", "10.0.9.9:8080", "10.0.1.11:8080", "10.0.1.12:8080"
	address := freeAddress(t)
	write(t, m.dir, "sorry.html", "sorry")
	config := write(t, m.dir, "nginx.conf", "daemon off; master_process off; error_log stderr crit;\n"+nginxFiles(m.dir, m.edit(before,
		"worker_processes auto;\n", "", "/srv/errors", m.dir,
		"\tserver {\n\t\tlisten 80;\n\t\tserver_name www.example.com;\n\t\treturn 301 https://$host$request_uri;\n\t}\n", "",
		"listen 443 ssl;", "listen "+address+";", "\t\tssl_certificate /etc/nginx/site.pem;\n", "", "\t\tssl_certificate_key /etc/nginx/site.key;\n", "")))
	m.startPeer("nginx", address, path, "-e", "stderr", "-p", m.dir, "-c", config)
	m.startCaddy("ballast", after, "/srv/errors", m.dir)

	m.each("weights", func(t *testing.T, s *movedSite) {
		m.expectShares(t, s, "/", map[string]int{one: 30, two: 10})
	})
	m.each("limits", func(t *testing.T, s *movedSite) {
		statuses, most := m.fill(t, s, "/api/held", 60, api1, api2)
		refused := map[string]int{"nginx": http.StatusBadGateway, "ballast": http.StatusServiceUnavailable}[s.name]
		if !maps.Equal(statuses, map[int]int{200: 40, refused: 20}) || most[0] != 20 || most[1] != 20 {
			t.Errorf("statuses %v, at most %v at a time", statuses, most)
		}
	})
	m.each("keys", func(t *testing.T, s *movedSite) {
		homes := make(map[string]string)
		for i := range 60 {
			tile := fmt.Sprintf("/tiles/%d", i)
			for range 2 {
				_, backend := s.ask(t, m.client(), http.MethodGet, tile)
				if was := homes[tile]; was != "" && was != backend {
					t.Errorf("%s is at %s, and then at %s", tile, was, backend)
				}
				homes[tile] = backend
			}
		}
		of := make(map[string]int)
		for _, backend := range homes {
			of[backend]++
		}
		if len(of) != 3 {
			t.Errorf("60 keys are at %v", of)
		}
	})
	m.each("retries by status", func(t *testing.T, s *movedSite) {
		serves := m.backends[two].serve.Load().(http.HandlerFunc)
		m.backends[two].serves(answer(http.StatusServiceUnavailable))
		defer m.backends[two].serves(serves)
		m.expectShares(t, s, "/", map[string]int{one: 4})
		failed := 0
		for range 8 { // a POST is not sent again: two of eight go to this backend
			if status, _ := s.ask(t, m.client(), http.MethodPost, "/"); status == http.StatusServiceUnavailable {
				failed++
			}
		}
		if failed != 2 {
			t.Errorf("%d of 8 POST requests failed, want 2", failed)
		}
	})
	m.backends[one].stop()
	m.backends[two].stop()
	m.each("backup", func(t *testing.T, s *movedSite) {
		m.expectShares(t, s, "/", map[string]int{spare: 8})
	})
}

// TestComingFromCaddy compares a Caddyfile without Ballast with the one that has pools.
func TestComingFromCaddy(t *testing.T) {
	t.Parallel() // it waits for most of the time
	blocks := comingFrom(t, "caddy", "caddyfile")
	m := newMovedTest(t, blocks[0])
	const one, two, reports, spare, api1, api2 = "10.0.0.11:8080", "10.0.0.12:8080", "10.0.2.11:8080", "10.0.9.9:8080", "10.0.1.11:8080", "10.0.1.12:8080"
	m.startCaddy("caddy", blocks[0], "health_interval 10s", "health_interval 200ms")
	m.startCaddy("ballast", blocks[1], "interval 10s", "interval 200ms")

	m.each("weights", func(t *testing.T, s *movedSite) {
		m.expectShares(t, s, "/", map[string]int{one: 30, two: 10})
	})
	m.each("sessions", func(t *testing.T, s *movedSite) {
		client := m.client()
		_, home := s.ask(t, client, http.MethodGet, "/")
		for range 8 {
			if _, backend := s.ask(t, client, http.MethodGet, "/"); backend != home {
				t.Fatalf("the session of %s is served by %s", home, backend)
			}
		}
	})
	m.each("first", func(t *testing.T, s *movedSite) {
		m.expectShares(t, s, "/reports/", map[string]int{reports: 8})
	})
	m.backends[api1].stop()
	m.each("retries", func(t *testing.T, s *movedSite) {
		if s.name == "ballast" { // a retry of Caddy's may go to the same backend
			m.expectShares(t, s, "/api/", map[string]int{api2: 8})
		}
	})
	m.backends[reports].stop()
	m.each("backup", func(t *testing.T, s *movedSite) { m.eventuallyOnly(t, s, "/reports/", spare) })
	m.backends[reports].start()
	m.each("it is back", func(t *testing.T, s *movedSite) { m.eventuallyOnly(t, s, "/reports/", reports) })
}
