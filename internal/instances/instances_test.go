// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package instances

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ballast-lb/caddy-ballast/internal/metrics"
)

type state struct{ n int }

var (
	declared metrics.Series
	number   = declared.Group("", "label")("number", "The number of a state.")
)

func collect(emit metrics.Emitter, s *state, detail int) { emit.Gauge(number, float64(s.n)) }

func list(r *Registry[*state, int]) (all []string) {
	for _, i := range r.List() {
		all = append(all, fmt.Sprintf("%s=%d/%d", i.Label, i.State.n, i.Detail))
	}
	return all
}

// A reload, accepted or rejected, keeps the states, and lists each once under the label
// that the latest configuration gives it.
func TestReload(t *testing.T) {
	r := New(&declared, collect)
	made := 0
	type member struct {
		Instance[*state, int]
		leave func()
	}
	join := func(c *prometheus.Registry, h Handler, detail int) member {
		t.Helper()
		i, leave, err := r.Join(c, h, detail, func() *state { made++; return &state{made} })
		if err != nil {
			t.Fatal(err)
		}
		return member{i, leave}
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
	if _, _, err := r.Join(first, Handler{Name: "a", Label: "a", Identity: "y"}, 0, nil); !errors.Is(err, ErrNameTaken) {
		t.Errorf("got %v, want ErrNameTaken", err)
	}

	rejected := join(second, Handler{Name: "a", Label: "a", Identity: "x"}, 5)
	expect("a=1/5", "fixed=2/3", "fixed-2=3/4")
	rejected.leave()
	expect("a=1/1", "fixed=2/3", "fixed-2=3/4")

	d := join(third, Handler{Label: "fixed", Identity: "x"}, 6) // the other one is gone
	for _, m := range []member{a, again, b, c} {
		m.leave()
	}
	expect("fixed=2/6")
	families, err := third.Gather()
	if err != nil || len(families) != 1 || len(families[0].Metric) != 1 {
		t.Fatalf("a scrape has %v, %v", families, err)
	}
	if m := families[0].Metric[0]; m.GetLabel()[0].GetValue() != "fixed" || m.GetGauge().GetValue() != 2 {
		t.Errorf("a scrape has %v", m)
	}
	if d.State != b.State {
		t.Error("a reload has lost a state")
	}
	d.leave()
	expect()
	e := join(nil, Handler{Label: "fixed", Identity: "x"}, 7)
	defer e.leave()
	if e.State == d.State {
		t.Error("a state has outlived all configurations")
	}
}

// A named instance and an unnamed one have states of their own, also if the label of the one
// is the name of the other, whichever comes first.
func TestNamedIsNotUnnamed(t *testing.T) {
	named, unnamed := Handler{Name: "fixed", Label: "fixed", Identity: "x"}, Handler{Label: "fixed", Identity: "x"}
	for _, order := range [][]Handler{{named, unnamed}, {unnamed, named}} {
		r := New(&declared, collect)
		made := 0
		for _, h := range order {
			_, leave, err := r.Join(nil, h, made, func() *state { made++; return &state{made} })
			if err != nil {
				t.Fatal(err)
			}
			defer leave()
		}
		if got := fmt.Sprint(list(r)); got != "[fixed=1/0 fixed-2=2/1]" {
			t.Errorf("listed %v", got)
		}
	}
}

// A list has the values of all configurations, the latest first, and its collector is in
// each once, however often values come and go.
func TestListOfConfigurations(t *testing.T) {
	l := NewList(&declared, func(metrics.Emitter, iter.Seq[string]) {})
	expect := func(want string) {
		t.Helper()
		if got := fmt.Sprint(slices.Collect(l.All())); got != want {
			t.Errorf("listed %v, want %v", got, want)
		}
	}
	add := func(c *prometheus.Registry, value string) (remove func()) {
		t.Helper()
		remove, err := l.Add(c, value)
		if err != nil {
			t.Fatal(err)
		}
		return remove
	}
	old, reloaded := prometheus.NewRegistry(), prometheus.NewRegistry()
	a, b := add(old, "a"), add(old, "b")
	c := add(reloaded, "c")
	expect("[c a b]")
	b()
	b()
	b = add(old, "b")
	expect("[c a b]")
	a()
	b()
	b = add(old, "b") // of a configuration that was empty
	expect("[b c]")
	b()
	c()
	expect("[]")

	taken := prometheus.NewRegistry()
	taken.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "caddy_ballast_number", Help: "Another."}))
	if _, err := l.Add(taken, "d"); err == nil {
		t.Error("another collector of the same series was no error")
	}
	expect("[]")
}
