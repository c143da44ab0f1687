// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"math"
	"testing"
)

func TestFigure(t *testing.T) {
	for want, f := range map[string]Figure{
		"none": nil, "5": {5}, "0": {0, 0, 0}, "2.50 (1 to 4)": {4, 1, 2, 3}, "101 (99.5 to 120)": {120.4, 99.5, 100.6},
	} {
		if got := f.String(); got != want {
			t.Errorf("%v is %q, want %q", []float64(f), got, want)
		}
	}
	if got := (Figure{10, 20, 30}).Over(Figure{5, 5, 5}); fmt.Sprint([]float64(got)) != "[2 4 6]" {
		t.Errorf("the ratios are %v", []float64(got))
	}
	if got := (Figure{10, 20, 30}).Minus(Figure{5, 25}); fmt.Sprint([]float64(got)) != "[5 -5]" {
		t.Errorf("the differences are %v", []float64(got))
	}
	if !math.IsNaN(Figure(nil).Median()) {
		t.Error("an empty figure has a median")
	}
}
