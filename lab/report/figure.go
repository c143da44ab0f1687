// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"math"
	"slices"
)

// Figure is one measure, once for each round.
type Figure []float64

// NewFigure measures all rounds.
func NewFigure[T any](rounds []T, measure func(T) float64) (f Figure) {
	for _, r := range rounds {
		f = append(f, measure(r))
	}
	return f
}

// Minus returns the differences of two figures, round by round.
func (f Figure) Minus(other Figure) (differences Figure) {
	for i := range min(len(f), len(other)) {
		differences = append(differences, f[i]-other[i])
	}
	return differences
}

// Over returns the ratios of two figures, round by round.
func (f Figure) Over(other Figure) (ratios Figure) {
	for i := range min(len(f), len(other)) {
		ratios = append(ratios, f[i]/max(other[i], 1e-9))
	}
	return ratios
}

// Median is the median of the rounds; NaN without rounds.
func (f Figure) Median() float64 {
	if len(f) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(f))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// String returns the median with the least and the greatest, if they differ.
func (f Figure) String() string {
	if len(f) == 0 {
		return "none"
	}
	if slices.Min(f) == slices.Max(f) {
		return Short(f[0])
	}
	return fmt.Sprintf("%s (%s to %s)", Short(f.Median()), Short(slices.Min(f)), Short(slices.Max(f)))
}

// Short formats a number with three digits, or a whole number with all digits.
func Short(v float64) string {
	switch {
	case v == math.Trunc(v) || math.Abs(v) >= 100:
		return fmt.Sprintf("%.0f", v)
	case math.Abs(v) >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
