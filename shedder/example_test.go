// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shedder_test

import (
	"fmt"
	"time"

	"github.com/ballast-lb/caddy-ballast/shedder"
)

// halving is an algorithm that halves the limit when backends refuse requests, and otherwise raises
// it by one.
type halving struct{}

// Start implements [shedder.Algorithm].
func (halving) Start() float64 { return 100 }

// Next implements [shedder.Algorithm].
func (halving) Next(w shedder.Window) (float64, shedder.Reason) {
	if w.Drops > 0 {
		return w.Limit / 2, shedder.ReasonDrops
	}
	return w.Limit + 1, shedder.ReasonCalm
}

func ExampleAlgorithm() {
	var a shedder.Algorithm = halving{}
	fmt.Println(a.Start())
	fmt.Println(a.Next(shedder.Window{Limit: 100, Length: time.Second, Answers: 900, Drops: 7}))
	fmt.Println(a.Next(shedder.Window{Limit: 50, Length: time.Second, Answers: 800}))
	// Output:
	// 100
	// 50 drops
	// 51 calm
}
