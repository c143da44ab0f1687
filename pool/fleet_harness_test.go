// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/fleet/fleettest"
	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/fleet"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

func init() { caddy.RegisterModule(new(linkStore)) }

// Several instances in one process have pools of different names, web-a and so on. The topics of all are
// those of web: see [fleettest.Link.Rename].

// linkStore is the store of one instance.
type linkStore struct {
	Link string `json:"link,omitempty"`
}

func (*linkStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ballast.fleet.link", New: func() caddy.Module { return new(linkStore) }}
}

var links sync.Map // of *node, by name

func (s *linkStore) Open() (fleet.Conn, error) {
	v, _ := links.Load(s.Link)
	return v.(*node).link.Open()
}

// node is one instance.
type node struct {
	*lbtest.Proxy
	t        *testing.T
	name     string
	link     *fleettest.Link
	backends lbtest.Backends
	persist  bool
}

// newNode returns an instance that is not running.
func newNode(t *testing.T, m *fleettest.Memory, name string, backends lbtest.Backends) *node {
	n := &node{t: t, name: name, link: m.Link(), backends: backends}
	n.link.Rename("/web-"+name, "/web")
	links.Store(t.Name()+name, n)
	return n
}

// start starts the instance, or reloads it, with a pool.
func (n *node) start(pool string) {
	n.t.Helper()
	old := n.Proxy
	apps := caddy.ModuleMap{"ballast": json.RawMessage(fmt.Sprintf(
		`{"persist":%v,"fleet":{"id":%q,"heartbeat":"1s","store":{"module":"link","link":%q}}}`, n.persist, n.name, n.t.Name()+n.name))}
	if n.persist {
		apps["storage"] = json.RawMessage(fmt.Sprintf(`{"module":"vault","name":%q}`, n.t.Name()))
	}
	p, err := lbtest.Load(n.t, apps, proxy("p2c", fmt.Sprintf(`"name":"web-%s",%s`, n.name, pool)), n.backends)
	if err != nil {
		n.t.Fatal(err)
	}
	n.Proxy = p
	if old != nil {
		old.Close()
	}
}

// end ends the process of the instance.
func (n *node) end() {
	n.Close()
	n.Proxy = nil
}

func (n *node) pool() *pool.Pool { return pool.Current("web-" + n.name) }

func (n *node) manager() membership.Manager { return n.pool().Manager() }

func (n *node) find(address string) *backend.Backend { return n.pool().Find(address) }

func (n *node) add(a membership.Addition) {
	n.t.Helper()
	if _, err := n.manager().Add(a); err != nil {
		n.t.Fatalf("adding %s on %s: %v", a.Address, n.name, err)
	}
}

func (n *node) alter(id string, c membership.Change) {
	n.t.Helper()
	if _, err := n.manager().Change(id, c); err != nil {
		n.t.Fatalf("changing %s on %s: %v", id, n.name, err)
	}
}

func (n *node) remove(id string, registered bool) {
	n.t.Helper()
	if _, err := n.manager().Remove(id, membership.Removal{Registered: registered}); err != nil {
		n.t.Fatalf("removing %s on %s: %v", id, n.name, err)
	}
}

// nodes starts instances a, b, and so on, with the same pool, and waits until they have shares.
func nodes(t *testing.T, m *fleettest.Memory, count int, pool string) (all []*node) {
	t.Helper()
	for i := range count {
		n := newNode(t, m, string(rune('a'+i)), answering("a:1", "b:1", "c:1", "d:1"))
		n.start(pool)
		all = append(all, n)
	}
	seconds(5)
	return all
}

// state describes the pool of an instance: what operators and registrations have made of it.
func (n *node) state() string {
	var lines []string
	for _, b := range n.pool().View().Members.All {
		line := fmt.Sprintf("%s id=%s weight=%d tier=%d zone=%s %s from %s", b.Address, b.ID, *b.Weight, b.Tier, b.Zone, b.AdminState(), n.manager().Origin(b.Address))
		if w := b.OperatorWeight(); w != nil {
			line += fmt.Sprintf(" w=%g", w.Value)
		}
		if r := b.OperatorMaxRequests(); r != nil {
			line += fmt.Sprintf(" r=%d", *r)
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// same checks that all instances have the same state.
func sameState(t *testing.T, all []*node) {
	t.Helper()
	want := all[0].state()
	for _, n := range all[1:] {
		if got := n.state(); got != want {
			t.Errorf("%s has\n%s\nand %s\n%s", all[0].name, want, n.name, got)
		}
	}
}

// soon is more than a change takes from one instance to the others.
func soon() { time.Sleep(200 * time.Millisecond); synctest.Wait() }
