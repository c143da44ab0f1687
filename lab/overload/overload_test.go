// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/ballast-lb/caddy-ballast/lab/loadgen"
)

// Steps of the same become one row.
func TestTable(t *testing.T) {
	table := newTable(options{times: []float64{3}})
	for _, peak := range []int{10, 12} {
		r := loadgen.NewResult()
		r.Length, r.Unsent = 2*time.Second, 1800
		table.add(3, kinds[0].name, &figures{Result: r, peak: peak, cpu: 900 * time.Millisecond, sent: 1800})
	}
	var text strings.Builder
	table.print(&text)
	row := strings.Split(text.String(), "\n")[1]
	if got := strings.Join(strings.Fields(row), " "); got != "caddy 900 0 0 % - - - - - 12 500 - 100.0 % 0 %" {
		t.Errorf("got %q", got)
	}
}

func TestParse(t *testing.T) {
	if o, err := parse([]string{"-times", "1,2.5", "-only", "caddy"}); err != nil || len(o.times) != 2 || o.times[1] != 2.5 || !o.poisson {
		t.Errorf("got %+v, %v", o, err)
	}
	for _, bad := range []string{"-times=0", "-times=x", "-rounds=0", "-length=0s", "-warm=-1s"} {
		if _, err := parse([]string{bad}); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}
