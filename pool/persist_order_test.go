// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"fmt"
	"regexp"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/report"
)

// Backends that were added at run time are in the order in which they came, in the view
// and in the admin API, after any number of restarts. What a build without an order has
// kept comes by address.
func TestRestartKeepsTheOrder(t *testing.T) {
	v := newMemoryStorage(t)
	synctest.Test(t, func(t *testing.T) {
		start := func() *lbtest.Proxy {
			p, err := lbtest.Load(t, kept(t, `"web":{`+dials("m:1")+`}`), proxy("wrr", webByName), nil)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		expect := func(when string, want []string) {
			t.Helper()
			pool := pool.Current("web")
			var view, listed []string
			for _, b := range pool.View().Members.All {
				view = append(view, b.Address)
			}
			for _, b := range report.OfPool(pool).Backends {
				listed = append(listed, b.Address)
			}
			if !slices.Equal(view, want) || !slices.Equal(listed, want) {
				t.Errorf("%s: the view has %v, the list %v, want %v", when, view, listed, want)
			}
		}
		want := []string{"m:1"}
		join := func(n int) {
			t.Helper()
			address := fmt.Sprintf("%c%d:1", "zaq"[n%3], 37*n%100)
			if _, err := manager(t).Add(membership.Addition{Address: address, Registered: n%2 == 0}); err != nil {
				t.Fatal(err)
			}
			want = append(want, address)
		}

		p := start()
		seconds(3)
		for n := range 12 {
			join(n)
		}
		expect("before", want)
		for restart := range 3 {
			p.Close()
			seconds(1)
			p = start()
			expect(fmt.Sprint("restart ", restart), want)
			seconds(3)
			remove(t, want[4])
			want = slices.Delete(want, 4, 5)
			join(12 + restart)
			expect("a change", want)
		}
		p.Close()

		key, data := v.only(t)
		old := regexp.MustCompile(`,"order":\d+`).ReplaceAllString(data, "")
		if old == data {
			t.Fatalf("kept was %s", data)
		}
		v.set(func() { v.files[key] = []byte(old) })
		start()
		slices.Sort(want[1:])
		expect("without an order", want)
	})
	lbtest.NoLeaks(t)
}
