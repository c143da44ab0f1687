// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"strconv"

	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

func mirrorOf(p *pool.Pool) *MirrorReport {
	if p.Mirror() == nil {
		return nil
	}
	t := p.MirrorCounters().Totals()
	r := &MirrorReport{
		InFlight: t.InFlight, Requests: make(map[string]int64), Dropped: make(map[string]int64), Responses: make(map[string]int64),
		Same: t.Same, Different: t.Different,
	}
	for result, n := range t.Results {
		r.Requests[string(result)] = n
	}
	for cause, n := range t.Dropped {
		r.Dropped[string(cause)] = n
	}
	for class := 1; class < len(t.Classes); class++ {
		r.Responses[strconv.Itoa(class)+"xx"] = t.Classes[class]
	}
	if n := float64(t.Same + t.Different); n > 0 {
		r.Time, r.MainTime = t.Copy.Seconds()/n, t.Main.Seconds()/n
	}
	return r
}
