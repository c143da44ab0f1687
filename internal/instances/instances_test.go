// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package instances

import (
	"errors"
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

type state struct{ n int }

// nothing is a collector without metrics.
type nothing struct{}

func (nothing) Describe(ch chan<- *prometheus.Desc) {
	ch <- prometheus.NewDesc("nothing", "Nothing.", nil, nil)
}
func (nothing) Collect(chan<- prometheus.Metric) {}

func list(r *Registry[*state, int]) (all []string) {
	for _, i := range r.List() {
		all = append(all, fmt.Sprintf("%s=%d/%d", i.Label, i.State.n, i.Detail))
	}
	return all
}

// A reload, accepted or rejected, keeps the states, and lists each once under the label
// that the latest configuration gives it.
func TestReload(t *testing.T) {
	r := New[*state, int](nothing{})
	made := 0
	join := func(c *prometheus.Registry, h Handler, detail int) *Member[*state, int] {
		t.Helper()
		m, err := r.Join(c, h, detail, func() *state { made++; return &state{made} })
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	expect := func(want ...string) {
		t.Helper()
		if got := list(r); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("listed %v, want %v", got, want)
		}
	}
	first, second, third := prometheus.NewRegistry(), prometheus.NewRegistry(), prometheus.NewRegistry()
	a := join(first, Handler{Name: "a", Label: "a", Identity: "x"}, 1)
	again := join(first, Handler{Name: "a", Label: "a", Identity: "x"}, 2) // the same instance
	b := join(first, Handler{Label: "fixed", Identity: "x"}, 3)
	c := join(first, Handler{Label: "fixed", Identity: "x"}, 4) // configured alike, another instance
	expect("a=1/1", "fixed=2/3", "fixed-2=3/4")
	if a.State != again.State || b.State == c.State {
		t.Error("handlers with one name must share their state, and unnamed ones must not")
	}
	if _, err := r.Join(first, Handler{Name: "a", Label: "a", Identity: "y"}, 0, nil); !errors.Is(err, ErrNameTaken) {
		t.Errorf("got %v, want ErrNameTaken", err)
	}

	rejected := join(second, Handler{Name: "a", Label: "a", Identity: "x"}, 5)
	expect("a=1/5", "fixed=2/3", "fixed-2=3/4")
	rejected.Leave()
	expect("a=1/1", "fixed=2/3", "fixed-2=3/4")

	d := join(third, Handler{Label: "fixed", Identity: "x"}, 6) // the other one is gone
	for _, m := range []*Member[*state, int]{a, again, b, c} {
		m.Leave()
	}
	expect("fixed=2/6")
	if d.State != b.State {
		t.Error("a reload has lost a state")
	}
	d.Leave()
	expect()
	e := join(nil, Handler{Label: "fixed", Identity: "x"}, 7)
	defer e.Leave()
	if e.State == d.State {
		t.Error("a state has outlived all configurations")
	}
}
