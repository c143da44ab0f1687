// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"fmt"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// BenchmarkMirror measures what `mirror` costs on the path of a request, without sockets: for a request
// that is not mirrored because of its method or by chance, for one that no place is left for, and for
// one that is mirrored, with the copy.
func BenchmarkMirror(b *testing.B) {
	hanging := lbtest.Backends{"a:1": lbtest.Latency(0), "s:1": hang}
	answering := lbtest.Backends{"a:1": lbtest.Latency(0), "s:1": lbtest.Latency(0)}
	for _, bb := range []struct {
		name, mirror string
		backends     lbtest.Backends
	}{
		{"without", "", answering},
		{"other method", `,"mirror":{"ratio":1,"to":["s:1"],"methods":["PUT"]}`, answering},
		{"by chance", `,"mirror":{"ratio":1e-9,"to":["s:1"]}`, answering},
		{"no place", `,"mirror":{"ratio":1,"to":["s:1"],"max_in_flight":1,"timeout":"1h"}`, hanging},
		{"copied", `,"mirror":{"ratio":1,"to":["s:1"],"max_in_flight":100000}`, answering},
	} {
		b.Run(bb.name, func(b *testing.B) {
			p, err := lbtest.Load(b, nil, fmt.Sprintf(`{"transport":{"protocol":"lbtest"},"dynamic_upstreams":{"source":"pool",%s%s}}`, dials("a:1"), bb.mirror), bb.backends)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				w := httptest.NewRecorder()
				if err := p.Handler.ServeHTTP(w, lbtest.Prepare(newRequest(), caddy.NewReplacer(), w), nil); err != nil {
					b.Fatal(err)
				}
			}
			p.Close()
		})
	}
}
