// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"sync"

	"github.com/ballast-lb/caddy-ballast/lab/loadgen"
)

// recorder records all requests of a run. add and served are safe for concurrent use; the samples
// are read after the run.
type recorder struct {
	mu      sync.Mutex
	all     []loadgen.Sample
	answers map[string]int
}

func newRecorder() *recorder { return &recorder{answers: make(map[string]int)} }

func (r *recorder) add(s loadgen.Sample) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, s)
	if s.Outcome == loadgen.Answered {
		r.answers[s.Server]++
	}
}

// served returns the answers by backend so far.
func (r *recorder) served() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	counts := make(map[string]int, len(r.answers))
	for name, n := range r.answers {
		counts[name] = n
	}
	return counts
}
