// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/health"
)

// learned runs a test for an application that tells sessions by a cookie, and for
// one that does by a header. ask sends a request with an id, or without one.
func learned(t *testing.T, f func(t *testing.T, w *world, policy string, set func(header http.Header, id string), ask func(s *site, id string) reply)) {
	for _, kind := range []string{"cookie", "header"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				set := func(header http.Header, id string) {
					if kind == "header" {
						header.Set("X-Session", id)
					} else {
						header.Add("Set-Cookie", "theme=dark; Path=/")
						header.Add("Set-Cookie", "app="+id+"; Path=/; HttpOnly")
					}
				}
				ask := func(s *site, id string) reply {
					c := newClient()
					switch {
					case id == "":
					case kind == "header":
						c.header.Set("X-Session", id)
					default:
						c.header.Set("Cookie", "theme=dark; app="+id)
					}
					return c.get(s)
				}
				name := map[string]string{"cookie": "app", "header": "x-session"}[kind]
				f(t, newWorld(t), fmt.Sprintf(`,"learn":{%q:%q}`, kind, name), set, ask)
			})
		})
	}
}

// A session begins with the response that sets its id, and is bound to the backend
// that this came from. Ids that no backend has set are none.
func TestLearn(t *testing.T) {
	learned(t, func(t *testing.T, w *world, policy string, set func(http.Header, string), ask func(*site, string) reply) {
		id := ""
		w.answer = func(_ string, _ *http.Request, header http.Header) {
			if id != "" {
				set(header, id)
			}
		}
		s := setup{n: 4, policy: policy}.load(t, w)
		homes := make(map[string]string)
		for n := range 20 {
			id = fmt.Sprint("id ", n, "/+=") // as applications do, against the RFC
			got := ask(s, "")
			if got.session != "new" {
				t.Fatalf("the first request: %v", got)
			}
			homes[id] = got.backend
		}
		id = ""
		for range 5 {
			for id, home := range homes {
				expect(t, "with "+id, ask(s, id), home, "kept")
			}
		}
		served := make(map[string]bool)
		for range 8 {
			got := ask(s, "forged")
			served[got.backend] = true
			if got.session != "new" {
				t.Errorf("an id that nobody has set: %v", got)
			}
		}
		if len(served) != 4 {
			t.Errorf("an id that nobody has set was served by %v alone", served)
		}
	})
}

// An application that changes the id in a session, as with a login, keeps the client.
func TestLearnAnotherID(t *testing.T) {
	learned(t, func(t *testing.T, w *world, policy string, set func(http.Header, string), ask func(*site, string) reply) {
		id := "anonymous"
		w.answer = func(_ string, _ *http.Request, header http.Header) { set(header, id) }
		s := setup{n: 4, policy: policy}.load(t, w)
		home := ask(s, "").backend
		id = "logged in"
		expect(t, "the login", ask(s, "anonymous"), home, "kept")
		for range 5 {
			expect(t, "after the login", ask(s, "logged in"), home, "kept")
		}
	})
}

// What cannot be an id binds nobody: an empty one, one that is too long, one that the
// response ends.
func TestLearnNothing(t *testing.T) {
	for name, header := range map[string]string{
		"empty":           "app=; Path=/",
		"ended":           "app=x; Max-Age=0",
		"ended by a date": "app=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
		"too long":        "app=" + strings.Repeat("x", 1025),
		"of another name": "application=x",
		"no cookie":       "app",
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.answer = func(_ string, _ *http.Request, h http.Header) { h.Set("Set-Cookie", header) }
			s := setup{n: 2, policy: `,"learn":{"cookie":"app"}`}.load(t, w)
			value, _, _ := strings.Cut(strings.TrimPrefix(header, "app="), ";")
			for range 4 {
				c := newClient()
				c.header.Set("Cookie", "app="+value)
				if got := c.get(s); got.session != "new" {
					t.Errorf("%s: %v", name, got)
				}
			}
		})
	}
}

// A learned session moves when its backend goes, as any; what answers then has it.
func TestLearnedSessionsMove(t *testing.T) {
	learned(t, func(t *testing.T, w *world, policy string, set func(http.Header, string), ask func(*site, string) reply) {
		w.answer = func(_ string, _ *http.Request, header http.Header) { set(header, "one") }
		s := setup{n: 2, retries: 1, policy: policy, pool: check(t)}.load(t, w)
		time.Sleep(time.Second / 2)
		home := ask(s, "").backend
		other := map[string]string{"a": "b", "b": "a"}[home]
		s.change(home+":1", func(b *backend.Backend) { b.SetAdmin(health.Drain) })
		expect(t, "while it is drained", ask(s, "one"), home, "kept")
		s.change(home+":1", func(b *backend.Backend) { b.SetAdmin(health.Ready) })
		w.set(func() { w.sick[home+":1"] = true })
		expect(t, "a request that fails", ask(s, "one"), other, "spilled")
		time.Sleep(2 * time.Second)
		expect(t, "once that is known", ask(s, "one"), other, "moved")
		w.set(func() { clear(w.sick) })
		time.Sleep(2 * time.Minute)
		expect(t, "when it is back", ask(s, "one"), other, "kept")
	})
}
