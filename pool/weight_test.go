// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/healthcheck"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

func init() {
	caddy.RegisterModule(new(fakeAgent))
	caddy.RegisterModule(new(reporting))
	caddy.RegisterModule(new(speaking))
}

// weighted are the policies whose shares follow the weights. With those that go by latency the
// shares depend on the answers, too.
var weighted = lbtest.PolicyConfigs(lbtest.ByWeight, lbtest.ByLoad, lbtest.ByKey)

// uris are requests that differ.
func uris(n int) string { return fmt.Sprint("/", n) }

// expectShare checks the share of the answers that were a's.
func expectShare(t *testing.T, got counted, low, high float64) {
	t.Helper()
	all := 0
	for _, n := range got.served {
		all += n
	}
	if share := float64(got.served["a:1"]) / float64(all); share < low || share > high {
		t.Errorf("a has %.3f of the requests, want %.3f to %.3f: %v", share, low, high, got.served)
	}
}

// A backend that comes back has a tenth of its weight, which grows with the time
// to all of it: of three alike it gets 0.1/2.1 = 4.8 % in the beginning, after
// half of the window 0.5/2.5 = 20 %, and at its end a third. Policies that go by
// load keep up only where there is load: it is 20 ms at 500 a second.
func TestSimulationSlowStart(t *testing.T) {
	lbtest.Simulation(t)
	for _, policy := range weighted {
		t.Run(policy, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				p := pooled(t, policy, "", `"slow_start":{"window":"30s"},`+check(t, ""), lbtest.Backends{
					"a:1": lbtest.Latency(20 * time.Millisecond), "b:1": lbtest.Latency(20 * time.Millisecond), "c:1": lbtest.Latency(20 * time.Millisecond)})
				send := func(length time.Duration) counted {
					return traffic{rate: 500, length: length, path: uris}.send(p)
				}
				// All are new, and get the same from the first second on. Hashing
				// spreads within a few percent.
				expectShare(t, send(2*time.Second), 0.25, 0.42)
				w.set(func() { w.sick["a:1"] = true })
				expectShare(t, send(3*time.Second), 0, 0.34)
				w.set(func() { delete(w.sick, "a:1") })
				send(2 * time.Second) // two passes
				expectShare(t, send(time.Second), 0, 0.10)
				send(13 * time.Second)
				expectShare(t, send(2*time.Second), 0.13, 0.27)
				send(14 * time.Second)
				expectShare(t, send(2*time.Second), 0.25, 0.42)
			})
		})
	}
}

// Policies that go by latency prefer the others while the weight is low, but not
// for ever: the ramp ends, and the three are alike.
func TestSimulationSlowStartByLatency(t *testing.T) {
	lbtest.Simulation(t)
	for _, policy := range lbtest.Policies(lbtest.ByLatency) {
		t.Run(policy, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				p := pooled(t, fmt.Sprintf(`{"policy":%q}`, policy), "", `"slow_start":{"window":"30s"},`+check(t, ""), lbtest.Backends{
					"a:1": lbtest.Latency(20 * time.Millisecond), "b:1": lbtest.Latency(20 * time.Millisecond), "c:1": lbtest.Latency(20 * time.Millisecond)})
				send := func(length time.Duration) counted { return traffic{rate: 500, length: length}.send(p) }
				send(2 * time.Second)
				w.set(func() { w.sick["a:1"] = true })
				send(3 * time.Second)
				w.set(func() { delete(w.sick, "a:1") })
				send(2 * time.Second)
				expectShare(t, send(time.Second), 0, 0.10)
				send(60 * time.Second)
				expectShare(t, send(5*time.Second), 0.28, 0.38)
			})
		})
	}
}

// The ramp goes on only while the backend answers, and answers well.
func TestSimulationSlowStartWaitsForGoodAnswers(t *testing.T) {
	lbtest.Simulation(t)
	for name, c := range map[string]struct {
		backend   lbtest.Answerer
		low, high float64
	}{
		"all well":     {lbtest.Latency(fast), 0.30, 0.36},
		"5 % errors":   {sometimes(0.05, 503), 0.27, 0.36}, // some looks see more than a tenth
		"25 % errors":  {sometimes(0.25, 503), 0.03, 0.15},
		"its own 500s": {sometimes(0.5, 500), 0.30, 0.36}, // are no outliers
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				p := pooled(t, wrr, "", `"slow_start":{"window":"10s"},"outliers":{"consecutive_errors":0},`+check(t, ""), three(c.backend))
				send := func(length time.Duration) counted { return countAll(traffic{rate: 500, length: length}, p) }
				send(2 * time.Second)
				w.set(func() { w.sick["a:1"] = true })
				send(3 * time.Second)
				w.set(func() { delete(w.sick, "a:1") })
				send(20 * time.Second)
				expectShare(t, send(2*time.Second), c.low, c.high)
			})
		})
	}
}

// countAll is traffic of which all answers count, errors too.
func countAll(tr traffic, p *lbtest.Proxy) counted {
	got := tr.send(p)
	got.served["a:1"] += got.lost // only a errs
	return got
}

// Without traffic nothing grows warm.
func TestSlowStartRestsWithoutTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := pooled(t, wrr, "", `"slow_start":{"window":"10s","min_ratio":0.2},`+check(t, ""), three(lbtest.Latency(fast)))
		seconds(2)
		w.set(func() { w.sick["a:1"] = true })
		seconds(2)
		w.set(func() { delete(w.sick, "a:1") })
		seconds(60)
		// 0.2/2.2 = 9 %
		expectShare(t, traffic{rate: 500, length: time.Second}.send(p), 0.08, 0.13)
	})
}

// A backend that is discovered later ramps, those of the first answer do not.
func TestSlowStartOfDiscovered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.found = []string{"b:1", "c:1"}
		p, err := lbtest.Load(t, nil, proxy("wrr", fmt.Sprintf(
			`"sources":[{"source":"fake","world":%q}],"refresh":"1s","slow_start":{"window":"20s"}`, t.Name())), three(lbtest.Latency(fast)))
		if err != nil {
			t.Fatal(err)
		}
		if got := (traffic{rate: 500, length: 5 * time.Second}).send(p); math.Abs(float64(got.served["b:1"]-got.served["c:1"])) > 10 {
			t.Errorf("the first two are not alike: %v", got.served)
		}
		w.set(func() { w.found = []string{"a:1", "b:1", "c:1"} })
		seconds(1.1)
		expectShare(t, traffic{rate: 500, length: time.Second}.send(p), 0.03, 0.08)
	})
}

// A tier has all requests while at least 1/1.4 of it is healthy. Of 4, that is 3;
// with 2 it gets 1.4 x 2/4 = 70 %, with 1 35 %, the rest goes to the next tier.
func TestSimulationTiersSpill(t *testing.T) {
	lbtest.Simulation(t)
	for _, policy := range append(lbtest.PolicyConfigs(), `{"policy":"round_robin"}`) {
		for sick, want := range map[int]float64{0: 1, 1: 1, 2: 0.7, 3: 0.35, 4: 0} {
			t.Run(fmt.Sprint(policy, sick), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					var list []string
					backends := make(lbtest.Backends)
					for i := range 4 {
						list = append(list, fmt.Sprintf(`{"dial":"p%d:1"},{"dial":"s%d:1","tier":1}`, i, i))
						backends[fmt.Sprintf("p%d:1", i)], backends[fmt.Sprintf("s%d:1", i)] = lbtest.Latency(fast), lbtest.Latency(fast)
						w.sick[fmt.Sprintf("p%d:1", i)] = i < sick
					}
					p, err := lbtest.Load(t, nil, fmt.Sprintf(`{"transport":{"protocol":"lbtest"},"load_balancing":{"selection_policy":%s},
						"dynamic_upstreams":{"source":"pool","guard":false,"backends":[%s],%s}}`, policy, joined(list), check(t, "")), backends)
					if err != nil {
						t.Fatal(err)
					}
					seconds(2)
					got := traffic{rate: 1000, length: 6 * time.Second, path: uris}.send(p)
					primary := 0
					for i := range 4 {
						primary += got.served[fmt.Sprintf("p%d:1", i)]
					}
					// 6,000 draws: within 5 deviations of 0.6 %.
					if share := float64(primary) / float64(got.sent); math.Abs(share-want) > 0.032 || (want == 1 || want == 0) && share != want {
						t.Errorf("the first tier has %.3f, want %.2f", share, want)
					}
				})
			})
		}
	}
}

func joined(list []string) string {
	var b bytes.Buffer
	for i, s := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(s)
	}
	return b.String()
}

// With a key, a request goes to the same tier, and backend, each time.
func TestSpillKeepsKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sick["a:1"] = true
		p, err := lbtest.Load(t, nil, fmt.Sprintf(`{"transport":{"protocol":"lbtest"},"load_balancing":{"selection_policy":{"policy":"rendezvous","key":"uri"}},
			"dynamic_upstreams":{"source":"pool","backends":[{"dial":"a:1"},{"dial":"b:1"},{"dial":"c:1","tier":1}],%s}}`, check(t, "")), three(lbtest.Latency(fast)))
		if err != nil {
			t.Fatal(err)
		}
		seconds(2)
		who := make(map[string]string)
		for range 3 {
			for n := range 100 {
				req := newRequest()
				req.URL.Path = uris(n)
				req.RequestURI = uris(n)
				res, err := p.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				got := res.Header().Get("X-Upstream")
				if before := who[uris(n)]; before != "" && before != got {
					t.Fatalf("%s went to %s and then to %s", uris(n), before, got)
				}
				who[uris(n)] = got
			}
		}
		n := 0
		for _, b := range who {
			if b == "c:1" {
				n++
			}
		}
		if n < 15 || n > 45 { // 30 of 100, within three deviations
			t.Errorf("%d of 100 keys went to the second tier", n)
		}
	})
}

// fakeAgent asks for what its world's agent has in store.
type fakeAgent struct {
	healthcheck.Schedule
	World string `json:"world,omitempty"`
}

var agents sync.Map // of func(address string) (backend.Instruction, error)

func (*fakeAgent) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ballast.checks.fakeagent", New: func() caddy.Module { return new(fakeAgent) }}
}

func (c *fakeAgent) Provision(caddy.Context) error {
	jitter := 0.0
	c.Interval, c.Timeout, c.Jitter = caddy.Duration(time.Second), caddy.Duration(time.Second), &jitter
	c.DownInterval, c.EdgeInterval, c.Passes, c.Fails, c.Initial = c.Interval, c.Interval, 1, 1, "up"
	return nil
}

func (c *fakeAgent) Probe(context.Context, healthcheck.Target) error { return nil }

func (c *fakeAgent) Steer(_ context.Context, t healthcheck.Target) (health.Instruction, error) {
	ask, _ := agents.Load(c.World)
	return ask.(func(string) (health.Instruction, error))(t.Address)
}

// The agent of one of three steers its weight, its state and its health; when it
// is lost, nothing changes.
func TestAgentSteers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var says health.Instruction
		var lost error
		agents.Store(t.Name(), func(address string) (health.Instruction, error) {
			mu.Lock()
			defer mu.Unlock()
			if address != "a:1" {
				return health.Instruction{}, nil
			}
			return says, lost
		})
		tell := func(i health.Instruction, err error) { mu.Lock(); defer mu.Unlock(); says, lost = i, err }
		share := func(f float64) *health.AgentWeight { return &health.AgentWeight{Value: f, Relative: true} }
		admin := func(a health.Admin) *health.Admin { return &a }
		no, yes, two, none := false, true, 2, 0

		p := pooled(t, wrr, "", fmt.Sprintf(`"health":[{"check":"fakeagent","world":%q}]`, t.Name()), three(lbtest.Latency(100*time.Millisecond)))
		seen := events(t, p)
		for _, step := range []struct {
			says health.Instruction
			err  error
			a    float64 // its share of 300 a second
		}{
			{health.Instruction{}, nil, 1. / 3},
			{health.Instruction{Weight: share(0.1)}, nil, 0.1 / 2.1},
			{health.Instruction{}, nil, 0.1 / 2.1},
			{health.Instruction{}, errors.New("refused"), 0.1 / 2.1},
			{health.Instruction{Weight: share(1)}, nil, 1. / 3},
			{health.Instruction{Weight: &health.AgentWeight{Value: 2}}, nil, 2. / 4},
			{health.Instruction{Admin: admin(health.Drain)}, nil, 0},
			{health.Instruction{Up: &yes}, nil, 0}, // that is another matter
			{health.Instruction{Admin: admin(health.Ready), Weight: share(1)}, nil, 1. / 3},
			{health.Instruction{Up: &no, Reason: "disk full"}, nil, 0},
			{health.Instruction{}, errors.New("refused"), 0},
			{health.Instruction{Up: &yes}, nil, 1. / 3},
			{health.Instruction{Admin: admin(health.Maint)}, nil, 0},
			{health.Instruction{Admin: admin(health.Ready)}, nil, 1. / 3},
			// Two at a time, of 100 ms each: 20 a second of 300.
			{health.Instruction{MaxRequests: &two}, nil, 20. / 300},
			{health.Instruction{MaxRequests: &none}, nil, 1. / 3},
		} {
			tell(step.says, step.err)
			seconds(1.1)
			expectShare(t, traffic{rate: 300, length: 3 * time.Second}.send(p), step.a-0.01, step.a+0.02)
		}
		if got := count(seen(), "backend_down inline-a:1 a:1 fakeagent disk full"); got != 1 || count(seen(), "backend_") != 2 {
			t.Errorf("events %v", seen())
		}
	})
}

// reporting is a transport whose backends report their load.
type reporting struct{}

func (*reporting) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.transport.reporting", New: func() caddy.Module { return new(reporting) }}
}

func (*reporting) RoundTrip(req *http.Request) (*http.Response, error) {
	info, _ := reverseproxy.GetDialInfo(req.Context())
	res := &http.Response{
		StatusCode: 200, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req, ContentLength: -1,
		Header: http.Header{"X-Upstream": {info.Address}}, Body: io.NopCloser(bytes.NewReader(nil)),
	}
	switch info.Address {
	case "a:1": // could do 1,000 a second, the others 500 each: 1.5 and 0.75 times the average
		res.Header.Set("endpoint-load-metrics", "TEXT cpu_utilization=0.1,rps_fractional=100")
	case "b:1":
		res.Trailer = http.Header{"Endpoint-Load-Metrics": {`JSON {"cpu_utilization":0.2,"rps_fractional":100}`}}
	case "c:1":
		res.Header.Set("endpoint-load-metrics", "TEXT cpu_utilization=0.1,cpu_utilization=0.1") // is no report
	}
	return res, nil
}

// What backends report of their load counts after 10 s: of those who do, a could
// take twice as much as b; c, whose reports cannot be read, counts as the average.
func TestLoadReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := lbtest.Load(t, nil, `{"transport":{"protocol":"reporting"},"load_balancing":{"selection_policy":{"policy":"wrr"}},
			"dynamic_upstreams":{"source":"pool",`+dials("a:1", "b:1", "c:1")+`}}`, nil)
		if err != nil {
			t.Fatal(err)
		}
		expectShare(t, traffic{rate: 300, length: 9 * time.Second}.send(p), 0.32, 0.35)
		seconds(2)
		traffic{rate: 300, length: 2 * time.Second}.send(p)
		got := traffic{rate: 300, length: 5 * time.Second}.send(p)
		// 4/3, 2/3 and 1, of 3.
		expectShare(t, got, 4./9-0.01, 4./9+0.01)
		if got.served["b:1"]*3 > got.served["c:1"]*2+20 {
			t.Errorf("served by %v", got.served)
		}
	})
}

// speaking is a transport whose backends speak gRPC: a:1 is unavailable, which its
// HTTP status does not show.
type speaking struct {
	// InHeader has the status in the header, as where there is no message.
	InHeader bool `json:"in_header,omitempty"`
}

func (*speaking) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.transport.speaking", New: func() caddy.Module { return new(speaking) }}
}

func (s *speaking) RoundTrip(req *http.Request) (*http.Response, error) {
	info, _ := reverseproxy.GetDialInfo(req.Context())
	status := http.Header{"Grpc-Status": {"0"}}
	switch info.Address {
	case "a:1":
		status.Set("Grpc-Status", "14")
	case "b:1":
		status.Set("Grpc-Status", "5") // NOT_FOUND is an answer
	}
	res := &http.Response{
		StatusCode: 200, Proto: "HTTP/2.0", ProtoMajor: 2, Request: req, ContentLength: -1,
		Header: http.Header{"X-Upstream": {info.Address}, "Content-Type": {"application/grpc+proto"}}, Body: io.NopCloser(bytes.NewReader(nil)),
	}
	if s.InHeader {
		res.Header.Set("Grpc-Status", status.Get("Grpc-Status"))
	} else {
		res.Trailer = status
	}
	return res, nil
}

// Five gRPC calls that are answered UNAVAILABLE eject, wherever the status is.
func TestGRPCErrorsEject(t *testing.T) {
	for _, inHeader := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			p, err := lbtest.Load(t, nil, fmt.Sprintf(`{"transport":{"protocol":"speaking","in_header":%v},"load_balancing":{"selection_policy":{"policy":"wrr"}},
				"dynamic_upstreams":{"source":"pool",%s}}`, inHeader, dials("a:1", "b:1", "c:1")), nil)
			if err != nil {
				t.Fatal(err)
			}
			seen := events(t, p)
			if got := (traffic{rate: 100, length: 5 * time.Second}).send(p); got.served["a:1"] != 5 || count(seen(), "backend_ejected") != 1 {
				t.Errorf("in header %v: served by %v; %v", inHeader, got.served, seen())
			}
		})
	}
}

// A tier of one that was ejected comes back, though the next has all requests.
func TestEjectedTierReturns(t *testing.T) {
	for _, policy := range append(lbtest.PolicyConfigs(), `{"policy":"round_robin"}`) {
		t.Run(policy, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, err := lbtest.Load(t, nil, `{"transport":{"protocol":"lbtest"},"load_balancing":{"retries":1,"selection_policy":`+policy+`},
					"dynamic_upstreams":{"source":"pool","backends":[{"dial":"a:1"},{"dial":"b:1","backup":true}]}}`,
					lbtest.Backends{"a:1": after(2*time.Second, lbtest.Refused, lbtest.Latency(fast)), "b:1": lbtest.Latency(fast)})
				if err != nil {
					t.Fatal(err)
				}
				if got := (traffic{rate: 50, length: 20 * time.Second, path: uris}).send(p); got.served["a:1"] > 0 {
					t.Fatalf("not ejected: %v", got.served)
				}
				traffic{rate: 50, length: 15 * time.Second, path: uris}.send(p)
				if got := (traffic{rate: 50, length: 5 * time.Second, path: uris}).send(p); got.served["b:1"] > 0 {
					t.Errorf("served by %v", got.served)
				}
			})
		})
	}
}

// Health is not ignored in a tier while another can take its load.
func TestPanicOfATier(t *testing.T) {
	for name, c := range map[string]struct {
		sick  []string
		panic bool
	}{
		"the backups can": {[]string{"a:1", "b:1"}, false},
		"nobody can":      {[]string{"a:1", "b:1", "c:1"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				backends := three(lbtest.Refused)
				backends["b:1"] = lbtest.Refused
				p, err := lbtest.Load(t, nil, `{"transport":{"protocol":"lbtest"},"load_balancing":{"selection_policy":{"policy":"wrr"}},
					"dynamic_upstreams":{"source":"pool","panic":0.5,"backends":[{"dial":"a:1"},{"dial":"b:1"},{"dial":"c:1","backup":true}],`+check(t, "")+`}}`, backends)
				if err != nil {
					t.Fatal(err)
				}
				seen := events(t, p)
				w.set(func() {
					for _, b := range c.sick {
						w.sick[b] = true
					}
				})
				seconds(3)
				got := traffic{rate: 50, length: time.Second}.send(p)
				if c.panic != (got.lost > 0) || c.panic != (count(seen(), "pool_panic_on") == 1) {
					t.Errorf("%d lost, %v", got.lost, seen())
				}
			})
		})
	}
}

// A backend whose agent says 0 % serves nobody, and so is no reason to eject the
// last that does, nor to keep a tier at work.
func TestAgentZeroIsNotAvailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		agents.Store(t.Name(), func(address string) (health.Instruction, error) {
			if address == "b:1" {
				return health.Instruction{Weight: &health.AgentWeight{Value: 0, Relative: true}}, nil
			}
			return health.Instruction{}, nil
		})
		p, err := lbtest.Load(t, nil, proxy("wrr", dials("a:1", "b:1")+fmt.Sprintf(`,"health":[{"check":"fakeagent","world":%q}]`, t.Name())),
			lbtest.Backends{"a:1": after(5*time.Second, status(http.StatusServiceUnavailable), lbtest.Latency(fast)), "b:1": lbtest.Latency(fast)})
		if err != nil {
			t.Fatal(err)
		}
		seconds(1)
		traffic{rate: 50, length: 6 * time.Second}.send(p)
		got := traffic{rate: 50, length: 5 * time.Second}.send(p)
		if got.lost > 0 || got.served["b:1"] > 0 {
			t.Errorf("%d lost, served by %v", got.lost, got.served)
		}
	})
}

// Under enough load the ramp takes no longer with one policy than with another, though
// some send a backend nothing while its weight is small: twice its window at most, since
// an answer counts for no more than two steps. One of ten equal backends, at 300 requests a
// second of 50 ms each, or of 40 at 100 with a ramp from 1 %, comes back.
func TestSimulationSlowStartIsBounded(t *testing.T) {
	lbtest.Simulation(t)
	for _, policy := range lbtest.PolicyConfigs() {
		for _, c := range []struct {
			backends, rate int
			least          string
		}{{10, 300, "0.1"}, {40, 100, "0.01"}} {
			t.Run(fmt.Sprint(policy, " ", c.backends), func(t *testing.T) {
				if c.backends > 10 && strings.Contains(policy, "key") {
					return // a backend that has 1 % of the keys may have none that is asked for
				}
				synctest.Test(t, func(t *testing.T) {
					w, backends := newWorld(t), make(lbtest.Backends)
					var members []string
					for i := range c.backends {
						address := fmt.Sprintf("b%d:1", i)
						if i == 0 {
							address = "a:1"
						}
						members = append(members, fmt.Sprintf(`{"dial":%q}`, address))
						backends[address] = lbtest.Latency(50 * time.Millisecond)
					}
					p := lbtest.NewProxy(t, `{"transport":{"protocol":"lbtest"},"load_balancing":{"selection_policy":`+policy+`},
						"dynamic_upstreams":{"source":"pool","backends":[`+strings.Join(members, ",")+`],
						"slow_start":{"window":"5s","min_ratio":`+c.least+`},`+check(t, "")+`}}`, backends)
					send := func(length time.Duration) counted {
						return traffic{rate: c.rate, length: length, path: uris}.send(p)
					}
					send(2 * time.Second)
					w.set(func() { w.sick["a:1"] = true })
					send(3 * time.Second)
					w.set(func() { delete(w.sick, "a:1") })
					send(2 * time.Second) // two passes
					fair := 1 / float64(c.backends)
					// One that is idle may be sent one at a time.
					expectShare(t, send(time.Second), 0, max(0.8*fair, 4/float64(c.rate)))
					send(9 * time.Second)
					// With chance, 75 of 3,000 requests within 4 standard deviations.
					expectShare(t, send(30*time.Second), fair/2, 2*fair)
				})
			})
		}
	}
}
