// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	groups "github.com/ballast-lb/caddy-ballast/internal/group"
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/rollout"
)

// groupedPool returns a pool with the backends u0 to u3, and v0 to v2 in a group with these shares
// by the header X-Key. u3 and v2 are in tier 1.
func groupedPool(t testing.TB, shares ...float64) (*pool.Pool, *rollout.Rollout) {
	t.Helper()
	key, err := httpx.NewRequestKey("header", "X-Key")
	if err != nil {
		t.Fatal(err)
	}
	plan, main := &rollout.Plan{Shares: shares, Every: 1}, new(rollout.Counts)
	g := &groups.Group{Name: "canary", Key: &key, Plan: plan, Rollout: rollout.New(plan, main, nil, 0)}
	p := pool.NewPool("grouped")
	p.SetOptions(pool.Options{Groups: groups.List{g}, MainCounts: main})
	var members []*backend.Backend
	for _, name := range []string{"u0", "v0", "u1", "v1", "u2", "v2", "u3"} {
		s := backend.Settings{ID: name, Weight: new(1)}
		if name[0] == 'v' {
			s.Group = "canary"
		}
		if name == "u3" || name == "v2" {
			s.Tier = 1
		}
		members = append(members, backend.New(p.Name, backend.Endpoint{Address: name, Settings: s}, backend.NewState(), nil, nil))
	}
	p.SetMembers(pool.NewMembers(members))
	return p, g.Rollout
}

// A policy picks within the group of the request, which is the same for all attempts, and within
// its first tier. When the share grows, no key leaves the group, and with keyed policies keys that
// stay in their group keep their backends.
func testGroup(t *testing.T, newPolicy func() caddy.Module) {
	p, o := groupedPool(t, 0.3, 0.6)
	sel := keyedInPool(t, newPolicy, p)
	const keys = 400
	chosen, in := make([]string, keys), 0
	ask := func(i int) string {
		req, _, end := endable(fmt.Sprint("key ", i))
		defer end()
		u := sel.Select(nil, req, nil)
		again := sel.Select(nil, req, nil)
		if u == nil || again == nil || u.Dial[0] != again.Dial[0] || u.Dial == "u3" || u.Dial == "v2" {
			t.Fatalf("key %d: picked %v, and then %v", i, u, again)
		}
		if want := "uv"[p.GroupFor(req)]; u.Dial[0] != want {
			t.Fatalf("key %d: picked %s, in another group than %c", i, u.Dial, want)
		}
		return u.Dial
	}
	for i := range chosen {
		if chosen[i] = ask(i); chosen[i][0] == 'v' {
			in++
		}
	}
	if in < 83 || in > 157 { // 120, within 4 standard deviations of 9.2
		t.Errorf("%d of %d keys are in the group", in, keys)
	}
	o.Count(false)
	if c, _ := o.Advance(1, true, 1); c != rollout.Stepped {
		t.Fatal("the share did not rise")
	}
	moved := 0
	for i := range chosen {
		switch now := ask(i); {
		case now[0] == chosen[i][0]:
			if minimal(newPolicy().CaddyModule().ID.Name()) != "" && now != chosen[i] {
				t.Errorf("key %d moved from %s to %s within its group", i, chosen[i], now)
			}
		case now[0] == 'u':
			t.Errorf("key %d left the group, from %s to %s", i, chosen[i], now)
		default:
			moved++
		}
	}
	if moved < 83 || moved > 157 {
		t.Errorf("%d keys have joined the group, want about 120", moved)
	}
	// Requests of a full group do not go to another group, and a group that is down gets no
	// requests.
	for _, b := range p.View().Members.All {
		if b.Group != "" {
			b.SetMaxRequests(new(1))
		}
	}
	p.Publish()
	for _, name := range []string{"v0", "v1", "v2"} {
		if !p.Find(name).Take() {
			t.Fatal("no slot")
		}
	}
	refused := 0
	for i := range keys {
		req, repl, end := endable(fmt.Sprint("key ", i))
		u := sel.Select(nil, req, nil)
		if reason, _ := repl.GetString("http.ballast.reason"); u == nil && reason == string(pool.ReasonFull) {
			refused++
		} else if u == nil || u.Dial[0] != 'u' {
			t.Fatalf("picked %v in a full group, reason %q", u, reason)
		}
		end()
	}
	if refused != in+moved {
		t.Errorf("%d requests were refused, want those of the group: %d", refused, in+moved)
	}
}

// An explanation names the group of the request, and does not change it.
func TestExplainGroup(t *testing.T) {
	p, _ := groupedPool(t, 1)
	inPool(t, policies(t)["wrr"], "", p)
	e := p.Explainers()[0](request())
	if e.Group != "canary" || e.Backend.Group != "canary" || !strings.HasPrefix(e.Why, "group canary: wrr chooses it") {
		t.Errorf("group %q, %s: %s", e.Group, e.Backend.ID, e.Why)
	}
	for _, c := range e.Candidates {
		if c.Backend.Group == "" && c.PassedOver != "the request goes to the group canary" {
			t.Errorf("%s is passed over with the reason %q", c.Backend.ID, c.PassedOver)
		}
	}
}

// A pick in a group does not allocate.
func TestGroupsAllocateNothing(t *testing.T) {
	p, _ := groupedPool(t, 0.5)
	for name, newPolicy := range policies(t) {
		sel := keyedInPool(t, newPolicy, p)
		req := lbtest.Prepare(request(), caddy.NewReplacer(), nil)
		req.Header.Set("X-Key", name)
		if a := testing.AllocsPerRun(100, func() { sel.Select(nil, req, nil) }); a > 0 {
			t.Errorf("%s: %v allocations per pick", name, a)
		}
	}
}
