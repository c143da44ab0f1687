// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// How much there is of each backend is what the configuration says that runs, for pools
// of the app and for those of proxies.
func TestMetricsOption(t *testing.T) {
	app := func(metrics string) caddy.ModuleMap {
		return caddy.ModuleMap{"ballast": json.RawMessage(`{` + metrics + `"pools":{"web":{` + dials("a:1") + `}}}`)}
	}
	for _, pool := range []string{`"name":"web"`, dials("b:1")} {
		for metrics, full := range map[string]int{"": 1, `"metrics":"full",`: 1, `"metrics":"basic",`: 0} {
			p, err := lbtest.Load(t, app(metrics), proxy("wrr", pool), nil)
			if err != nil {
				t.Fatal(err)
			}
			few, many := len(p.Samples(t, "caddy_ballast_backend_up")), len(p.Samples(t, "caddy_ballast_backend_latency_seconds"))
			if few == 0 || many != full*few {
				t.Errorf("%s: %d backends are up, and %d have a histogram", metrics, few, many)
			}
			p.Close()
		}
	}
	for _, word := range []string{"some", "Basic", " "} {
		_, err := lbtest.Load(t, app(`"metrics":"`+word+`",`), proxy("wrr", `"name":"web"`), nil)
		if err == nil || !strings.Contains(err.Error(), `metrics must be full or basic, got "`+word+`"`) {
			t.Errorf("%q: %v", word, err)
		}
	}
	lbtest.NoLeaks(t)
}
