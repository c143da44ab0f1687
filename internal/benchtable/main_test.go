// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

func TestTables(t *testing.T) {
	const in = `goos: linux
BenchmarkSelect/caddy_round_robin/list/3-2	1000	10 ns/op	0 B/op	0 allocs/op
BenchmarkSelect/wrr/pool/3-2	1000	20 ns/op	0 B/op	0 allocs/op
BenchmarkSelect/wrr/pool/3-2	1000	22 ns/op	0 B/op	0 allocs/op
BenchmarkSelect/wrr/pool/3-2	1000	90 ns/op	16 B/op	1 allocs/op
BenchmarkThroughput/caddy/10-2	30	0.98 ratio:wrr	0.5 cpu-ratio:wrr	700 req/s:wrr	710 req/s:caddy
BenchmarkObserve-2	20	0 ns/op	12 json-ms
PASS`
	const want = `
BenchmarkThroughput/caddy/10
         cpu-ratio  ratio  req/s
    wrr        0.5   0.98    700
  caddy                      710

BenchmarkObserve
  json-ms                        12

  Select, ns/op (times round_robin)         3
             caddy_round_robin/list  10 (1.0)
                           wrr/pool  22 (2.2)
`
	var out strings.Builder
	tables(strings.NewReader(in), &out)
	if got := out.String(); got != strings.ReplaceAll(want, "Benchmark", "") {
		t.Errorf("got\n%s", got)
	}
}
