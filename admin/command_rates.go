// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"time"
)

// sampleFor is the time between two samples, by default.
const sampleFor = time.Second

// sampler replaces the request rates of pools by the rates between two samples. The rates of the API are means over
// 30 to 60 seconds, too slow for a person who watches. Not safe for concurrent use.
type sampler struct {
	at      time.Time
	started map[backendKey]int64
}

// backendKey identifies a backend over two samples.
type backendKey struct{ pool, address string }

// set replaces the rates in all by those since the sample before, where there is one, and keeps
// this sample. A backend that has restarted its counters keeps the mean.
func (s *sampler) set(all []Pool, now time.Time) {
	started := make(map[backendKey]int64)
	for _, p := range all {
		for i := range p.Backends {
			b := &p.Backends[i]
			key := backendKey{p.Name, b.Address}
			started[key] = b.Requests
			if before, ok := s.started[key]; ok && b.Requests >= before && now.After(s.at) {
				b.Rate = float64(b.Requests-before) / now.Sub(s.at).Seconds()
			}
		}
	}
	s.at, s.started = now, started
}

// twice calls read, and again after a pause, so that the rates are those in between. Without a
// pause it calls read once, and the rates are the means of the API.
func (s *sampler) twice(ctx context.Context, pause time.Duration, read func() ([]Pool, error)) error {
	for first := true; ; first = false {
		all, err := read()
		if err != nil {
			return err
		}
		s.set(all, time.Now())
		if !first || pause <= 0 || len(s.started) == 0 {
			return nil
		}
		if err := wait(ctx, pause); err != nil {
			return err
		}
	}
}

// wait waits for a time, or until the context ends.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
