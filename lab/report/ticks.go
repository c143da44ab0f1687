// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/plot"
)

// roundTicks labels multiples of 1, 2 or 5 times a power of ten, at most seven of them.
type roundTicks struct{}

// Ticks implements [plot.Ticker].
func (roundTicks) Ticks(low, high float64) (ticks []plot.Tick) {
	const maxLabels = 7
	step := math.Pow(10, math.Floor(math.Log10((high-low)/maxLabels)))
	for _, factor := range []float64{1, 2, 5, 10} {
		if (high-low)/(step*factor) <= maxLabels {
			step *= factor
			break
		}
	}
	for i := math.Ceil(low/step-1e-9) + 0; i*step <= high+step*1e-9; i++ { // + 0 makes 0 of -0
		ticks = append(ticks, plot.Tick{Value: i * step, Label: fmt.Sprintf("%.6g", i*step)})
	}
	return ticks
}

// logTicks labels powers of ten with plain numbers; if fewer than two are visible, also multiples
// of 2 and 5.
type logTicks struct{}

// Ticks implements [plot.Ticker].
func (logTicks) Ticks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	for _, t := range (plot.LogTicks{Prec: -1}).Ticks(low, high) { // includes powers of ten twice
		if !slices.ContainsFunc(ticks, func(o plot.Tick) bool { return math.Abs(o.Value/t.Value-1) < 1e-9 }) {
			ticks = append(ticks, t)
		}
	}
	labelled := 0
	for i, t := range ticks {
		ticks[i].Label = ""
		if lead(t.Value) == 1 {
			ticks[i].Label = fmt.Sprintf("%g", t.Value)
			if t.Value >= low && t.Value <= high {
				labelled++
			}
		}
	}
	for i, t := range ticks {
		if l := lead(t.Value); labelled < 2 && (l == 2 || l == 5) {
			ticks[i].Label = fmt.Sprintf("%.3g", t.Value)
		}
	}
	return ticks
}

// lead returns the first digit of a number.
func lead(v float64) float64 {
	return math.Round(v / math.Pow(10, math.Floor(math.Log10(v)+1e-9)))
}
