// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
)

// member describes a backend of a test: its weight, its tier, whether it is up.
type member struct {
	weight, tier int
	up           bool
}

var errRefused = errors.New("refused")

func build(members ...member) (*Pool, []*health.Status) {
	p := NewPool("test")
	var all []*backend.Backend
	var verdicts []*health.Status
	for i, m := range members {
		v := health.NewStatus(m.up)
		address := fmt.Sprint("b", i)
		all = append(all, backend.New("test", backend.Endpoint{Address: address, Settings: backend.Settings{ID: address, Weight: new(m.weight), Tier: m.tier}}, backend.NewState(), []*health.Status{v}, nil))
		verdicts = append(verdicts, v)
	}
	p.SetMembers(NewMembers(all))
	return p, verdicts
}

func TestView(t *testing.T) {
	up, down, zero := member{1, 0, true}, member{1, 0, false}, member{0, 0, true}
	for _, tt := range []struct {
		name    string
		members []member
		tiers   string // tier:addresses
		reason  Reason
	}{
		{"no members", nil, "[]", ReasonEmpty},
		{"all up", []member{up, up}, "[0:b0,b1]", ""},
		{"one down", []member{up, down, up}, "[0:b0,b2]", ""},
		{"all down", []member{down, down}, "[]", ReasonDown},
		{"weight 0 takes nothing", []member{zero, up}, "[0:b1]", ""},
		{"only weight 0", []member{zero, down}, "[]", ReasonWeight},
		{"tiers in order", []member{{1, 7, true}, {1, 1, true}, up}, "[0:b2 1:b1 7:b0]", ""},
		{"an empty tier is no tier", []member{down, {0, 1, true}, {1, 2, true}}, "[2:b2]", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, _ := build(tt.members...)
			v := p.View()
			var tiers []string
			for _, tier := range v.Tiers {
				s := fmt.Sprint(tier.Number, ":")
				for i, b := range tier.Backends {
					if i > 0 {
						s += ","
					}
					s += b.Address
					if tier.Weights[i] != b.EffectiveWeight() {
						t.Errorf("weight of %s is %v", b.Address, tier.Weights[i])
					}
				}
				tiers = append(tiers, s)
			}
			if got := fmt.Sprint(tiers); got != tt.tiers || v.Reason != tt.reason {
				t.Errorf("got %s %q, want %s %q", got, v.Reason, tt.tiers, tt.reason)
			}
			if len(v.Members.All) != len(tt.members) {
				t.Errorf("%d members, want %d", len(v.Members.All), len(tt.members))
			}
		})
	}
}

func TestPublishReachesSubscribers(t *testing.T) {
	p, verdicts := build(member{1, 0, true}, member{1, 1, true})
	var got []int
	p.Subscribe(func(v *View) { got = append(got, v.Tiers[0].Number) })
	verdicts[0].Observe(errors.New("down"), 1, 1)
	p.Publish()
	verdicts[0].Observe(nil, 1, 1)
	p.Publish()
	if want := []int{0, 1, 0}; !slices.Equal(got, want) {
		t.Errorf("subscriber saw first tiers %v, want %v", got, want)
	}
	if p.Find("b1") == nil || p.Find("nobody") != nil {
		t.Error("Find does not find members by address")
	}
}

// However publishers overlap, the last view shows the last state.
func TestPublishInParallel(t *testing.T) {
	p, verdicts := build(make([]member, 50)...)
	for _, v := range verdicts {
		v.Observe(nil, 1, 1)
	}
	var wg sync.WaitGroup
	for _, v := range verdicts {
		wg.Go(func() {
			for range 20 {
				v.Observe(errRefused, 1, 1)
				p.Publish()
				v.Observe(nil, 1, 1)
				p.Publish()
			}
			v.Observe(errRefused, 1, 1)
			p.Publish()
		})
	}
	wg.Wait()
	if v := p.View(); v.Reason != ReasonDown {
		t.Errorf("reason %q after all went down", v.Reason)
	}
}

// The newest configuration's pool is the active one, until it goes; then the
// one before is, if it still runs.
func TestActivePools(t *testing.T) {
	old, rejected := NewPool("a"), NewPool("a")
	other := NewPool("b")
	for _, p := range []*Pool{old, other, rejected} {
		p.Activate()
	}
	if got := Pools(); !slices.Equal(got, []*Pool{rejected, other}) {
		t.Errorf("active pools are %v", got)
	}
	rejected.Deactivate()
	rejected.Deactivate()
	if got := Pools(); !slices.Equal(got, []*Pool{old, other}) {
		t.Errorf("active pools are %v", got)
	}
	old.Deactivate()
	other.Deactivate()
	if got := Pools(); len(got) != 0 {
		t.Errorf("active pools are %v", got)
	}
}

func TestAnnounceOnce(t *testing.T) {
	v1, v2 := health.NewStatus(true), health.NewStatus(true)
	b := backend.New("p", backend.Endpoint{Address: "a"}, backend.NewState(), []*health.Status{v1, v2}, nil)
	v1.Observe(errRefused, 1, 1)
	if up, changed := b.SwapAnnounced(); up || !changed {
		t.Error("the first check's failure is not announced")
	}
	v2.Observe(errRefused, 1, 1)
	v1.Observe(nil, 1, 1)
	if up, changed := b.SwapAnnounced(); up || changed {
		t.Error("a backend that is still down is announced")
	}
	v2.Observe(nil, 1, 1)
	if up, changed := b.SwapAnnounced(); !up || !changed {
		t.Error("the backend's return is not announced")
	}
}

func TestCounters(t *testing.T) {
	s := backend.NewState()
	broken := &net.OpError{Op: "read", Err: syscall.ECONNRESET}
	for _, o := range []struct {
		status     int
		err        error
		clientGone bool
	}{
		{200, nil, false}, {503, nil, false}, {0, broken, false}, {200, broken, false},
		{0, context.Canceled, true}, {200, broken, true}, {999, nil, false},
		{500, broken, false}, {502, broken, true}, {429, nil, false},
	} {
		s.Begin()
		a := &backend.Attempt{Status: o.status, FirstByte: time.Second}
		if o.status != 0 {
			s.Answer(a)
		}
		s.End(a, 2*time.Second, o.err, o.clientGone)
	}
	s.Begin()
	want := backend.Totals{
		Requests: 11, InFlight: 1, ClientGone: 3, Responses: [6]int64{0: 3, 2: 3, 4: 1, 5: 3}, BadStatus: 1,
		Failures: map[outlier.Failure]int64{outlier.Refused: 0, outlier.Reset: 3, outlier.Timeout: 0, outlier.TLSFailure: 0, outlier.Protocol: 0, outlier.Local: 0, outlier.Unsent: 0, outlier.Unread: 0, outlier.Closed: 0},
		// Of eight attempts that got a header.
		Answered: 8, FirstByte: 8 * time.Second, LastByte: 16 * time.Second,
	}
	if got := s.Totals(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
