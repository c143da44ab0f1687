// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"testing"
)

// stickyTest is a site with sessions, over HTTP and HTTPS, and its clients.
type stickyTest struct {
	t           testing.TB
	http, https string // where it is
	policy      string // options
	ports       [2]int
}

func newStickyTest(t testing.TB, policy string) *stickyTest {
	s := &stickyTest{t: t, policy: policy, ports: [2]int{freePort(t), freePort(t)}}
	s.http = fmt.Sprintf("http://app.test:%d", s.ports[0])
	s.https = fmt.Sprintf("https://app.test:%d", s.ports[1])
	return s
}

// sites are those for a Caddyfile, and pool is the pool of both as a global option.
func (s *stickyTest) sites() string {
	return fmt.Sprintf(`%s, %s {
		bind 127.0.0.1
		reverse_proxy {
			dynamic pool web
			lb_policy sticky {
				%s
			}
			lb_retries 2
		}
		header >X-Session {http.ballast.session}
	}`, s.http, s.https, s.policy)
}

func pool(to string) string {
	return fmt.Sprintf("ballast {\npool web {\nto %s\n%s\n}\n}", to, check("http /health", twice))
}

// jar is a client that keeps cookies as browsers do.
func (s *stickyTest) jar() *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	tr := &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // Caddy's own authority signs it
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			_, port, _ := net.SplitHostPort(address)
			return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:"+port)
		},
	}
	s.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Jar: jar, Transport: tr}
}

// get returns which backend has answered, what became of the session, and the
// cookies that were set.
func (s *stickyTest) get(c *http.Client, url string) (backend, session string, set []*http.Cookie) {
	s.t.Helper()
	res, err := c.Get(url)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		s.t.Fatalf("%s: status %d, %v: %s", url, res.StatusCode, err, body)
	}
	return string(body), res.Header.Get("X-Session"), res.Cookies()
}

// ready waits for Caddy's own authority to sign the certificate.
func (s *stickyTest) ready() {
	s.t.Helper()
	eventually(s.t, "Caddy has a certificate", func() bool {
		res, err := s.jar().Get(s.https)
		if err == nil {
			res.Body.Close()
		}
		return err == nil
	})
}

// keeps says that a client stays with a backend.
func (s *stickyTest) keeps(c *http.Client, url, home string) {
	s.t.Helper()
	for range 5 {
		if got, session, set := s.get(c, url); got != home || session != "kept" || len(set) > 0 {
			s.t.Errorf("%s: %s (%s), with %d cookies set, want %s (kept)", url, got, session, len(set), home)
		}
	}
}

// Cookies over HTTP and HTTPS, with the attributes that are right for each: a client
// keeps its backend when it changes to HTTPS, over a change of the order of the
// backends, and over an end of Caddy.
func TestStickyCookies(t *testing.T) {
	all, to := startThree(t)
	s := newStickyTest(t, "cookie lb {\nsecret this-is-a-secret-of-the-test\n}")
	c := startCaddy(t, pool(to), s.sites())
	s.ready()
	spread := make(map[string]int)
	var clients []*http.Client
	var homes []string
	for range 9 {
		client := s.jar()
		home, session, set := s.get(client, s.http)
		if session != "new" || len(set) != 1 {
			t.Fatalf("the first request is %s, with %d cookies", session, len(set))
		}
		if k := set[0]; k.Name != "lb" || !k.HttpOnly || k.Secure || k.SameSite != http.SameSiteLaxMode || k.Path != "/" || k.Domain != "" {
			t.Errorf("over HTTP: %v", k)
		}
		s.keeps(client, s.http, home)
		s.keeps(client, s.https, home) // one from HTTP is good for HTTPS
		clients, homes = append(clients, client), append(homes, home)
		spread[home]++
	}
	for _, b := range all {
		if spread[b.address] != 3 {
			t.Errorf("new sessions are spread unevenly: %v", spread)
		}
	}
	client := s.jar()
	home, _, set := s.get(client, s.https)
	if k := set[0]; !k.Secure || !k.HttpOnly {
		t.Errorf("over HTTPS: %v", k)
	}
	s.keeps(client, s.https, home)
	if _, session, _ := s.get(client, s.http); session != "new" {
		t.Errorf("a cookie from HTTPS was sent over HTTP: %s", session)
	}

	reversed := fmt.Sprint(all[2].address, " ", all[1].address, " ", all[0].address)
	if err := c.load(pool(reversed), s.sites()); err != nil {
		t.Fatal(err)
	}
	for n := range clients {
		s.keeps(clients[n], s.http, homes[n])
	}
	c.stop()
	c.start(pool(to), s.sites())
	s.ready()
	for n := range clients {
		s.keeps(clients[n], s.https, homes[n])
	}

	// One that dies loses its sessions to others, for good.
	all[0].stop()
	for n := range clients {
		if homes[n] != all[0].address {
			s.keeps(clients[n], s.http, homes[n])
			continue
		}
		eventually(t, "the session moves", func() bool {
			got, session, _ := s.get(clients[n], s.http)
			homes[n] = got
			return session == "moved"
		})
		s.keeps(clients[n], s.http, homes[n])
	}
}

// An application with sessions of its own: they are learned from what it answers to
// the login, and no cookie is added.
func TestStickyLearns(t *testing.T) {
	all, to := startThree(t)
	for n, b := range all {
		logins := 0
		b.serves(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/login" {
				logins++
				http.SetCookie(w, &http.Cookie{Name: "JSESSIONID", Value: fmt.Sprintf("%d.%d", n, logins), Path: "/", HttpOnly: true})
			} else if k, err := r.Cookie("JSESSIONID"); err == nil && !strings.HasPrefix(k.Value, fmt.Sprint(n, ".")) {
				http.Error(w, "who are you?", http.StatusForbidden)
				return
			}
			b.name(w, r)
		})
	}
	s := newStickyTest(t, "learn cookie JSESSIONID")
	c := startCaddy(t, pool(to), s.sites())
	s.ready()
	var clients []*http.Client
	var homes []string
	for range 6 {
		client := s.jar()
		if _, session, set := s.get(client, s.http); session != "new" || len(set) > 0 {
			t.Errorf("before the login: %s, and %d cookies", session, len(set))
		}
		home, _, _ := s.get(client, s.http+"/login")
		s.keeps(client, s.http, home)
		clients, homes = append(clients, client), append(homes, home)
	}
	if err := c.load(pool(to), s.sites()+"\n"); err != nil {
		t.Fatal(err)
	}
	for n := range clients {
		s.keeps(clients[n], s.https, homes[n])
	}
}
