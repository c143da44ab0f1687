// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shedder

import "github.com/ballast-lb/caddy-ballast/internal/report"

func init() { report.Shedders(sheds) }

// sheds reports on all handlers.
func sheds() (all []report.Shed) {
	for _, i := range registry.List() {
		s, g := report.Shed{Name: i.Label, FleetLimit: i.State.limit}, i.State
		t := g.counts.Totals()
		for l := range t.Admitted {
			s.Admitted += uint64(t.Admitted[l])
		}
		for _, causes := range t.Refused {
			for _, n := range causes {
				s.Refused += uint64(n)
			}
		}
		if g.keys != nil {
			if _, s.InFlight, s.Waiting = g.keys.total(); g.limit > 0 {
				s.Limit = int(g.share.Load())
			}
		} else {
			s.InFlight, s.Waiting, s.Limit = g.one.InFlight(), g.one.Waiting(), g.one.Limit()
		}
		all = append(all, s)
	}
	return all
}
