// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// loadTwo has two proxies in one configuration.
func loadTwo(t *testing.T, w *world, one, two setup) (s1, s2 *site) {
	t.Helper()
	proxies, err := lbtest.LoadAll(t, nil, w.backends(5), one.config(), two.config())
	if err != nil {
		t.Fatal(err)
	}
	return &site{proxies[0], w}, &site{proxies[1], w}
}

// One browser that goes to two pools on one site keeps both sessions: by default each
// pool has a cookie of its own name. Where two have one name nevertheless, there is one
// warning that says which.
func TestTwoPoolsOnOneSite(t *testing.T) {
	const named = `,"cookie":{"name":"who",` + secret + `}`
	for name, tt := range map[string]struct {
		one, two setup
		warning  string // empty for none, and sessions that stay
	}{
		"named":                  {setup{name: "api", policy: byCookie}, setup{name: "web", policy: byCookie}, ""},
		"named, one name":        {setup{name: "api", policy: named}, setup{name: "web", policy: named}, "who"},
		"one without a name":     {setup{unnamed: true, policy: byCookie}, setup{name: "web", policy: byCookie}, ""},
		"both without a name":    {setup{unnamed: true, policy: byCookie}, setup{unnamed: true, order: []int{2, 3}, policy: byCookie}, "ballast"},
		"lists":                  {setup{list: true, policy: byCookie}, setup{list: true, order: []int{2, 3}, policy: byCookie}, "ballast"},
		"lists, different names": {setup{list: true, policy: named}, setup{list: true, order: []int{2, 3}, policy: byCookie}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				tt.one.n, tt.two.n = 2, 2
				s1, s2 := loadTwo(t, w, tt.one, tt.two)
				c := newClient()
				lost := 0
				first1, first2 := c.get(s1).backend, c.get(s2).backend
				for range 10 {
					if got := c.get(s1); got.session != "kept" || got.backend != first1 {
						lost++
					}
					if got := c.get(s2); got.session != "kept" || got.backend != first2 {
						lost++
					}
				}
				synctest.Wait()
				var warnings []string
				for _, line := range s1.Logged("cookie") {
					if strings.Contains(line, "end each other's sessions") {
						warnings = append(warnings, line)
					}
				}
				if tt.warning == "" && (lost > 0 || len(warnings) > 0) {
					t.Errorf("%d of 20 requests have lost their session; %q", lost, warnings)
				}
				if tt.warning != "" && (lost == 0 || len(warnings) == 0 || len(warnings) > 2 || !strings.HasSuffix(warnings[0], " "+tt.warning)) {
					t.Errorf("%d of 20 requests have lost their session; %q", lost, warnings)
				}
			})
		})
	}
}

// A cookie that is not ours, or of an earlier configuration, is no reason to warn.
func TestNoWarningWithoutAClash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		base := setup{n: 2, unnamed: true, policy: byCookie}
		old := base.load(t, w)
		c := newClient()
		c.get(old)
		base.order, base.n = []int{1, 2}, 2 // another first backend: another scope
		s := base.load(t, w)
		for range 3 {
			c.get(s)
			junk := newClient()
			junk.cookies["ballast"] = strings.Repeat("A", 60)
			junk.get(s)
		}
		synctest.Wait()
		if got := s.Logged(); len(got) > 0 {
			t.Errorf("%q", got)
		}
	})
}

// Sessions of the time when all pools had one default name go on, and get the name of
// today.
func TestFormerDefaultName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setup{n: 3, policy: byCookie}.load(t, newWorld(t))
		c := newClient()
		home := c.get(s).backend
		c.cookies = map[string]string{"ballast": c.cookies[cookieName]}
		got := c.get(s)
		expect(t, "with the former name", got, home, "kept")
		if len(got.set) != 1 || got.set[0].Name != cookieName {
			t.Errorf("set: %v", got.set)
		}
		for range 3 {
			got := c.get(s)
			if expect(t, "later", got, home, "kept"); len(got.set) > 0 {
				t.Errorf("set again: %v", got.set)
			}
		}
	})
}

// A pool's name that cannot be in the name of a cookie, or is long, has a stand-in that
// no other pool has.
func TestNamesOfPoolsInCookies(t *testing.T) {
	seen := make(map[string]string)
	for _, name := range []string{"web", "web-2", "a.b_c", "über", "ueber", "_ber", "a;b", "a,b", "a=b", `a"b`, strings.Repeat("x", 64), strings.Repeat("x", 65), strings.Repeat("x", 5000), strings.Repeat("ü", 200)} {
		s := setup{n: 1, name: name, policy: byCookie}.load(t, newWorld(t))
		c := newClient()
		set := c.get(s).set
		if len(set) != 1 || len(set[0].Name) > 80 || !strings.HasPrefix(set[0].Name, "ballast_") {
			t.Fatalf("%.20q: %v", name, set)
		}
		if other, ok := seen[set[0].Name]; ok {
			t.Errorf("%.20q and %.20q have the name %s", name, other, set[0].Name)
		}
		seen[set[0].Name] = name
		expect(t, name, c.get(s), "a", "kept")
	}
}

// A secret may be in the environment: the cookie is that of its value, not of the placeholder, which
// anybody may know.
func TestSecretOfTheEnvironment(t *testing.T) {
	t.Setenv("BALLAST_SECRET", "a secret of the test")
	w, c := newWorld(t), newClient()
	home := c.get(setup{n: 3, policy: byCookie}.load(t, w)).backend
	expect(t, "with the value", c.get(setup{n: 3, policy: `,"cookie":{"secret":"{env.BALLAST_SECRET}"}`}.load(t, w)), home, "kept")
	expect(t, "with a former one", c.get(setup{n: 3, policy: `,"cookie":{"secret":"another secret of the test","former_secrets":["{env.BALLAST_SECRET}"]}`}.load(t, w)), home, "kept")
}

// Another host of the domain can set any number of cookies of the name, which hide
// none, wherever ours is among them.
func TestTossedCookies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := setup{n: 3, policy: byCookie}.load(t, w)
		c := newClient()
		home := c.get(s).backend
		good := cookieName + "=" + c.cookies[cookieName]
		// Another secret makes what looks like ours.
		stranger := newClient()
		stranger.get(setup{n: 3, policy: `,"cookie":{"secret":"another secret of the test"}`}.load(t, w))
		for _, bad := range []string{"", "x", strings.Repeat("A", 60), stranger.cookies[cookieName]} {
			junk := slices.Repeat([]string{cookieName + "=" + bad}, 150)
			for _, at := range []int{0, 4, 5, 75, 150} {
				all := slices.Insert(slices.Clone(junk), at, good)
				for _, lines := range [][]string{{strings.Join(all, "; ")}, all} { // HTTP/2 may have a line for each
					k := newClient()
					k.header["Cookie"] = lines
					expect(t, fmt.Sprintf("behind %d times %.10q", at, bad), k.get(s), home, "kept")
				}
			}
		}
	})
}

// With indirect, backends see all cookies but that of the session, as they were sent:
// also with retries, and where there are several of its name.
func TestIndirect(t *testing.T) {
	for _, list := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			var mu sync.Mutex
			var seen []string
			w.answer = func(_ string, req *http.Request, _ http.Header) {
				mu.Lock()
				defer mu.Unlock()
				seen = append(seen, strings.Join(req.Header["Cookie"], " | "))
			}
			const options = `,"cookie":{"name":"who","indirect":true,` + secret + `}`
			s := setup{n: 2, list: list, retries: 1, policy: options}.load(t, w)
			c := newClient()
			home := c.get(s).backend
			good := "who=" + c.cookies["who"]
			for _, tt := range []struct{ sent, want string }{
				{good, ""},
				{"a=b; " + good, "a=b"},
				{good + "; a=b", "a=b"},
				{"a=b;" + good + ";c=d", "a=b;c=d"},
				{`a="x y"; ` + good + "; who2=3; c=d=e;  f", `a="x y"; who2=3; c=d=e;  f`},
				{"who=junk; a=b; " + good + "; who=junk2", "a=b"},
				{"who=" + strings.Repeat("A", 60) + "; " + good + " | a=b | who=x", "a=b"},
				{"a=b; WHO=x; " + good, "a=b; WHO=x"},
			} {
				seen = nil
				k := newClient()
				k.header["Cookie"] = strings.Split(tt.sent, " | ")
				expect(t, tt.sent, k.get(s), home, "kept")
				if want := []string{tt.want}; !slices.Equal(seen, want) {
					t.Errorf("sent %q: the backend sees %q, want %q", tt.sent, seen, want)
				}
			}
			// The first attempt fails, and the session is known to the second.
			seen = nil
			w.set(func() { w.sick[home+":1"] = true })
			if got := c.get(s); got.session != "spilled" || !slices.Equal(seen, []string{""}) {
				t.Errorf("after a retry: %v, the backend sees %q", got, seen)
			}
		})
	}
}

// Without it, they see the cookie.
func TestNotIndirect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		seen := ""
		w.answer = func(_ string, req *http.Request, _ http.Header) { seen = req.Header.Get("Cookie") }
		s := setup{n: 1, policy: byCookie}.load(t, w)
		c := newClient()
		c.get(s)
		if c.get(s); seen != cookieName+"="+c.cookies[cookieName] {
			t.Errorf("the backend sees %q", seen)
		}
	})
}
