// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package persist

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	weakrand "math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/latency"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/slowstart"
)

var errProbe = errors.New("refused")

var snapshotRules = &outlier.Rules{EjectFor: 30 * time.Second, MaxEjectFor: 5 * time.Minute}

var snapshotChecks = []string{"http:1", "agent:2"}

// known returns a backend with whatever may be known of it.
func known(r *weakrand.Rand) *backend.Backend {
	b := unknown()
	for _, v := range b.Statuses() {
		for range r.IntN(8) {
			var result error
			if r.IntN(2) == 0 {
				result = errProbe
			}
			v.Observe(result, 2, 2)
		}
		v.Suppress(r.IntN(4) == 0)
	}
	agent := health.Instruction{}
	if r.IntN(2) == 0 {
		agent.Weight = &health.AgentWeight{Value: r.Float64() * 300, Relative: r.IntN(2) == 0}
	}
	if r.IntN(2) == 0 {
		agent.MaxRequests = new(r.IntN(100))
	}
	if r.IntN(2) == 0 {
		agent.Admin = new(health.Admin(r.IntN(3)))
	}
	if r.IntN(2) == 0 {
		agent.Up = new(r.IntN(2) == 0)
	}
	b.Statuses()[1].ApplyInstruction(agent)
	for range r.IntN(3) {
		b.Eject(clock.Now(), snapshotRules, strings.Repeat("é", r.IntN(400)), false)
		if r.IntN(2) == 0 {
			time.Sleep(time.Duration(r.Int64N(int64(time.Minute))))
			b.Expire(clock.Now())
		}
		if r.IntN(3) == 0 {
			b.Uneject()
		}
	}
	for range r.IntN(3) {
		b.Header.Observe(clock.Now(), time.Duration(r.Int64N(int64(2*time.Hour))), latency.Averaging)
		b.Body.Observe(clock.Now(), time.Duration(r.Int64N(int64(time.Hour))), latency.Averaging)
		b.LastByte.Observe(clock.Now(), time.Duration(r.Int64N(1000)), latency.Averaging)
	}
	if r.IntN(2) == 0 {
		b.Ramp.Restore()
	}
	b.SetAdmin(health.Admin(r.IntN(3)))
	if r.IntN(2) == 0 {
		b.SetWeight(&health.AgentWeight{Value: r.Float64() * 300, Relative: r.IntN(2) == 0})
	}
	return b
}

// unknown returns a backend with two checks of which nothing is known.
func unknown() *backend.Backend {
	return backend.New("web", backend.Endpoint{Settings: backend.Settings{Weight: new(1)}}, backend.NewState(), []*health.Status{health.NewStatus(true), health.NewStatus(true)}, nil)
}

// What is restored is what was known: a process that takes over at once would
// write the same again.
func TestSnapshotRoundTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for seed := range uint64(2000) {
			r := weakrand.New(weakrand.NewPCG(seed, 1))
			var s Snapshot
			backends := make(map[backend.StateKey]*backend.Backend)
			for i := range r.IntN(4) {
				key := backend.StateKey{Pool: []string{"web", ":ab"}[r.IntN(2)], Address: fmt.Sprint("b:", i), Duplicate: r.IntN(3)}
				backends[key] = known(r)
			}
			s.Saved = time.Now()
			for key, b := range backends {
				s.Backends = append(s.Backends, RecordOf(b, key, snapshotChecks))
			}
			data, err := s.Encode()
			if err != nil {
				t.Fatal(err)
			}
			got, err := DecodeSnapshot(data)
			if err != nil {
				t.Fatalf("seed %d: %v\n%s", seed, err, data)
			}
			if len(got.Backends) != len(backends) || !got.Saved.Equal(s.Saved) {
				t.Fatalf("seed %d: got %d backends of %v, want %d of %v", seed, len(got.Backends), got.Saved, len(backends), s.Saved)
			}
			for _, record := range got.Backends {
				again := unknown()
				record.Restore(again.State, snapshotRules, snapshotChecks, again.Statuses())
				now, was := RecordOf(again, record.Key(), snapshotChecks), backends[record.Key()]
				if !reflect.DeepEqual(now, record) {
					t.Fatalf("seed %d:\n%+v\nwant\n%+v", seed, now, record)
				}
				// An attempt that tries a backend did not survive: another may.
				phase := was.EjectionState()
				left := was.EjectionReport().Until - clock.Now()
				if phase == outlier.Probing || phase == outlier.Ejected && left <= 0 {
					phase = outlier.HalfOpen
				}
				if left.Abs() < time.Second { // it is kept in whole seconds
					phase = again.EjectionState()
				}
				if again.EjectionState() != phase || again.Admitted() != was.Admitted() || again.Full() != was.Full() || again.Ramping() {
					t.Fatalf("seed %d: phase %v, want %v; %+v", seed, again.EjectionState(), phase, record)
				}
				held := slices.ContainsFunc(was.Statuses(), (*health.Status).Suppressed)
				if !held && again.Up() != was.Up() || !held && again.Factors().Agent != was.Factors().Agent {
					t.Fatalf("seed %d: up %v, want %v; %+v", seed, again.Up(), was.Up(), record)
				}
			}
		}
	})
}

// A new process restores into what nothing is known of, and no further.
func TestRestoreKeepsNewerKnowledge(t *testing.T) {
	b := unknown()
	b.Statuses()[0].Observe(nil, 1, 1)
	b.Statuses()[1].ObserveAgentError(errors.New("refused"))
	b.Header.Observe(clock.Now(), time.Second, latency.Averaging)
	full := unknown()
	full.Ramp.Restore()
	slowstart.Arrive(slowstart.Settings{Window: time.Minute}, clock.Now(), []*backend.Backend{full, b}) // b begins a slow start
	down := false
	r := Record{Header: 5, Warm: true, Checks: []health.Record{
		{Check: snapshotChecks[0], Up: &down}, {Check: snapshotChecks[1], Up: &down, Admin: "drain"}, {Check: "gone", Up: &down},
	}}
	r.Restore(b.State, snapshotRules, snapshotChecks, b.Statuses())
	if !b.Up() || !b.Admitted() || b.Header.Value(clock.Now(), latency.Decay) > 1.1e9 || b.Ramp.Done() {
		t.Errorf("what was known before was overwritten: %+v", RecordOf(b, backend.StateKey{}, snapshotChecks))
	}
}

// A failing check that is not believed is not to be believed by the next process
// either.
func TestRecordOfHeldVerdict(t *testing.T) {
	b := unknown()
	b.Statuses()[0].Observe(errProbe, 1, 1)
	if r := RecordOf(b, backend.StateKey{}, snapshotChecks); len(r.Checks) != 1 || *r.Checks[0].Up {
		t.Errorf("down: %+v", r.Checks)
	}
	if b.Statuses()[0].Suppress(true); b.Statuses()[0].Up() {
		t.Error("who was seen down is up again")
	}
	b = unknown()
	b.Statuses()[0].Suppress(true)
	b.Statuses()[0].Observe(errProbe, 1, 1)
	if r := RecordOf(b, backend.StateKey{}, snapshotChecks); !r.Empty() {
		t.Errorf("held: %+v", r.Checks)
	}
}

func TestRestoreEjection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			name  string
			left  time.Duration
			rules *outlier.Rules
			phase outlier.EjectionState
			until time.Duration
		}{
			{"the rest of it", time.Minute, snapshotRules, outlier.Ejected, time.Minute},
			{"no longer than the rules allow", 24 * time.Hour, snapshotRules, outlier.Ejected, 5 * time.Minute},
			{"it is over", -time.Second, snapshotRules, outlier.HalfOpen, -time.Second},
			{"it is over now", 0, snapshotRules, outlier.HalfOpen, 0},
			{"nobody would end it", time.Minute, nil, outlier.Healthy, -clock.Now()},
		} {
			b := unknown()
			r := Record{Ejection: &outlier.EjectionRecord{Until: time.Now().Add(tt.left), Times: 2, Reason: "bad"}}
			r.Restore(b.State, tt.rules, nil, nil)
			if got := b.EjectionReport(); got.State != tt.phase || got.Until-clock.Now() != tt.until || got.Total != 0 {
				t.Errorf("%s: %+v, and %v left", tt.name, got, got.Until-clock.Now())
			}
		}
		b := unknown()
		r := Record{Ejection: &outlier.EjectionRecord{Times: 2}}
		r.Restore(b.State, snapshotRules, nil, nil)
		b.Eject(clock.Now(), snapshotRules, "again", false)
		if left := b.EjectionReport().Until - clock.Now(); left != 90*time.Second {
			t.Errorf("the third ejection lasts %v, want 1m30s", left)
		}
	})
}

func TestSnapshotBounds(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	list := func(n int, item string) string { return strings.Repeat(item+",", n-1) + item }
	const head = `{"version":1,"saved":"2026-01-02T03:04:05Z","backends":[`
	for _, tt := range []struct{ good, bad string }{
		{`"pool":"` + long(512) + `","address":"a"`, `"pool":"` + long(513) + `","address":"a"`},
		{`"pool":"p","address":"` + long(512) + `"`, `"pool":"p","address":"` + long(513) + `"`},
		{`"pool":"p","address":"a"`, `"pool":"p"`},
		{`"pool":"p","address":"a"`, `"address":"a"`},
		{`"twin":1000000`, `"twin":1000001`},
		{`"twin":0`, `"twin":-1`},
		{`"twin":1`, `"twin":1.5`},
		{`"header":3600,"body":0`, `"header":3601`},
		{`"header":1e-300`, `"header":-1`},
		{`"header":1`, `"header":1e999`},
		{`"header":1`, `"header":NaN`},
		{`"body":3600`, `"body":3601`},
		{`"body_begin":3600`, `"body_begin":3601`},
		{`"seen":"2999-12-31T23:59:59Z"`, `"seen":"3000-01-01T00:00:00Z"`},
		{`"seen":"1970-01-01T00:00:00Z"`, `"seen":"1969-12-31T23:59:59Z"`},
		{`"seen":"1970-01-01T00:00:00Z"`, `"seen":"yesterday"`},
		{`"checks":[` + list(100, `{"check":"c"}`) + `]`, `"checks":[` + list(101, `{"check":"c"}`) + `]`},
		{`"checks":[{"check":"` + long(128) + `"}]`, `"checks":[{"check":"` + long(129) + `"}]`},
		{`"checks":[{"check":"c"}]`, `"checks":[{}]`},
		{`"checks":[]`, `"checks":[null]`},
		{`"checks":[{"check":"c","up":false}]`, `"checks":[{"check":"c","up":"no"}]`},
		{`"checks":[{"check":"c","weight":{"value":1000000}}]`, `"checks":[{"check":"c","weight":{"value":1000001}}]`},
		{`"checks":[{"check":"c","max_requests":2147483647}]`, `"checks":[{"check":"c","max_requests":2147483648}]`},
		{`"checks":[{"check":"c","max_requests":0}]`, `"checks":[{"check":"c","max_requests":-1}]`},
		{`"checks":[{"check":"c","admin":"maint"}]`, `"checks":[{"check":"c","admin":"Maint"}]`},
		{`"ejection":{"times":1000000}`, `"ejection":{"times":1000001}`},
		{`"ejection":{"times":0}`, `"ejection":{"times":-1}`},
		{`"ejection":{"until":"2999-01-01T00:00:00Z"}`, `"ejection":{"until":"9999-01-01T00:00:00Z"}`},
		{`"ejection":{"reason":"` + long(512) + `"}`, `"ejection":{"reason":"` + long(513) + `"}`},
		{`"operator":{"admin":"drain"}`, `"operator":{"admin":"gone"}`},
		{`"operator":{"weight":{"value":0.5,"relative":true}}`, `"operator":{"weight":{"value":-0.5}}`},
		{`"operator":{"max_requests":0}`, `"operator":{"max_requests":-1}`},
		{`"operator":{"max_requests":2147483647}`, `"operator":{"max_requests":2147483648}`},
		{`"pool":"p","address":"a","operator":{"added":{"pool":"p","id":"i"}}`, `"pool":"p","address":"a","operator":{"added":{"id":"i"}}`},
		{`"pool":"p","address":"a","operator":{"added":{"pool":"p","id":"` + long(512) + `"}}`, `"pool":"p","address":"a","operator":{"added":{"pool":"p","id":"` + long(513) + `"}}`},
		{`"pool":"p","address":"a","operator":{"added":{"pool":"p","id":"i","weight":65535}}`, `"pool":"p","address":"a","operator":{"added":{"pool":"p","id":"i","weight":65536}}`},
		{`"pool":"p","address":"a","operator":{"added":{"pool":"p","id":"i","tier":1,"backup":true}}`, `"pool":"p","address":"a","operator":{"added":{"pool":"p","id":"i","tier":-1}}`},
		{`"pool":"p","address":"a","operator":{"added":{"pool":"p","id":"i","ttl":0}}`, `"pool":"p","address":"a","operator":{"added":{"pool":"p","id":"i","ttl":-1}}`},
		{`"pool":"p","address":"a","operator":{"added":{"pool":"p","id":"i","meta":{"k":"v"}}}`, `"pool":"p","address":"a","operator":{"added":{"pool":"p","id":"i","meta":{"k":"` + long(513) + `"}}}`},
		{`"pool":"p","address":"a","operator":{"removed":{"pool":"p"}}`, `"pool":"p","address":"a","operator":{"removed":{"pool":""}}`},
		{`"pool":"p","address":"a","operator":{"removed":{"pool":"p","was":"` + long(128) + `"}}`, `"pool":"p","address":"a","operator":{"removed":{"pool":"p","was":"` + long(129) + `"}}`},
		{`"later":{"more":[1]},"operator":{"later":1}`, `"later":`}, // what a later build adds
	} {
		name := func(fields string) string {
			if !strings.Contains(fields, `"address"`) && !strings.Contains(fields, `"pool"`) {
				fields = `"pool":"p","address":"a",` + fields
			}
			return head + "{" + fields + "}]}"
		}
		if _, err := DecodeSnapshot([]byte(name(tt.good))); err != nil {
			t.Errorf("%.80s: %v", tt.good, err)
		}
		if s, err := DecodeSnapshot([]byte(name(tt.bad))); err == nil {
			t.Errorf("%.80s: accepted as %.200v", tt.bad, s)
		}
	}
	one := `{"pool":"p","address":"a"}`
	var many strings.Builder
	for i := range MaxRecords + 1 {
		fmt.Fprintf(&many, `{"pool":"p","address":"a%d"},`, i)
	}
	for input, want := range map[string]string{
		``:                                   "empty",
		`{`:                                  "unexpected end",
		`[]`:                                 "cannot unmarshal",
		`null`:                               "version 0",
		`{}`:                                 "version 0",
		`{"version":2,"backends":{}}`:        "version 2",
		`{"version":1}`:                      "saved",
		head + `null]}`:                      "backend 0: pool",
		head + one + `]}]`:                   "after top-level value",
		head + one + `,` + one + `]}`:        "twice",
		head + many.String() + one + `]}`:    "50002 backends",
		head + `]}` + long(snapshotBytes):    "bytes",
		`{"version":1,"saved":"2026-01-02"}`: "cannot parse",
	} {
		if _, err := DecodeSnapshot([]byte(input)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.100s: got %v, want %q", input, err, want)
		}
	}
}

// One backend that cannot be written does not cost the others, and nothing is
// written that could not be read.
func TestEncodeLeavesOutWhatIsOutOfBounds(t *testing.T) {
	good := Record{Pool: "p", Address: "good", Warm: true}
	s := Snapshot{Saved: time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600)), Backends: []Record{
		{Pool: "p", Address: "a\xff"}, {Address: "a"}, {Pool: "p", Address: strings.Repeat("a", 1000)},
		{Pool: "p", Address: "a", Header: math.NaN()}, {Pool: "p", Address: "a", LastByte: math.Inf(1)}, {Pool: "p", Address: "a", Body: math.NaN()},
		{Pool: "p", Address: "a", Seen: time.Unix(1e12, 0)}, good, {Pool: "p", Address: "good", Header: 1},
	}}
	data, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"version":1,"saved":"2026-01-02T02:04:05Z","backends":[{"pool":"p","address":"good","warm":true}]}`; string(data) != want {
		t.Errorf("got %s, want %s", data, want)
	}
	b := unknown()
	b.SetWeight(&health.AgentWeight{Value: 1e9})
	b.Statuses()[1].ApplyInstruction(health.Instruction{Weight: &health.AgentWeight{Value: math.NaN()}})
	b.Eject(clock.Now(), snapshotRules, strings.Repeat("\xff€", 1000), false)
	b.Header.Observe(clock.Now(), math.MaxInt64, latency.Averaging)
	if r := RecordOf(b, backend.StateKey{Pool: "p", Address: "a"}, snapshotChecks); r.check() != nil {
		t.Errorf("%+v: %v", r, r.check())
	}
}

// An average of an idle backend looks the same each time, until it is too old to
// tell anything.
func TestRecordOfIdleBackendDoesNotChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := unknown()
		b.Header.Observe(clock.Now(), 12345*time.Microsecond, latency.Averaging)
		b.Eject(clock.Now(), snapshotRules, "bad", false)
		before, _ := json.Marshal(RecordOf(b, backend.StateKey{}, snapshotChecks))
		if !bytes.Contains(before, []byte(`"header":0.012`)) {
			t.Errorf("got %s", before)
		}
		for range 50 {
			time.Sleep(11 * time.Second)
			if now, _ := json.Marshal(RecordOf(b, backend.StateKey{}, snapshotChecks)); !bytes.Equal(now, before) {
				t.Fatalf("got %s, before %s", now, before)
			}
		}
		time.Sleep(time.Minute)
		if r := RecordOf(b, backend.StateKey{}, snapshotChecks); r.Header != 0 {
			t.Errorf("an average of ten minutes ago is still there: %v", r.Header)
		}
	})
}

func FuzzSnapshot(f *testing.F) {
	for _, seed := range []string{
		`{"version":1,"saved":"2026-01-02T03:04:05Z","backends":[]}`,
		`{"version":1,"saved":"2026-01-02T03:04:05+01:00","backends":[{"pool":"web","address":"10.0.0.1:80","twin":1,` +
			`"seen":"2026-01-02T03:00:00-01:00","checks":[{"check":"http:ab","up":false,"weight":{"value":0.5,"relative":true},` +
			`"max_requests":3,"admin":"drain"}],"ejection":{"until":"2026-01-02T03:04:35Z","times":2,"reason":"5 consecutive errors"},` +
			`"header":0.012,"body_begin":0.5,"body":1.2,"warm":true,"operator":{"admin":"maint","weight":{"value":3}}}]}`,
		`{"version":1,"saved":"2026-01-02T03:04:05Z","backends":[{"pool":"b","address":"a"},{"pool":"a","address":"a","checks":[]}]}`,
		`{"version":1,"saved":"2026-01-02T03:04:05Z","backends":[{"pool":"b","address":"a","operator":{"max_requests":0,"added":{"pool":"b","id":"i",` +
			`"weight":3,"tier":1,"max_requests":2,"meta":{"k":"v"},"registered":true,"ttl":10000},"removed":{"pool":"b","was":"ab"}}}]}`,
		`{"version":2}`, `{`, ``, `null`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := DecodeSnapshot(data)
		if err != nil {
			if s != nil {
				t.Error("something and an error")
			}
			return
		}
		once, err := s.Encode()
		if err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		again, err := DecodeSnapshot(once)
		if err != nil {
			t.Fatalf("%s: %v", once, err)
		}
		if twice, _ := again.Encode(); !bytes.Equal(once, twice) {
			t.Errorf("%s != %s", once, twice)
		}
		if len(again.Backends) != len(s.Backends) || !again.Saved.Equal(s.Saved) {
			t.Errorf("%+v != %+v", again, s)
		}
		for i := range s.Backends {
			b, c := unknown(), unknown()
			s.Backends[i].Restore(b.State, snapshotRules, snapshotChecks, b.Statuses())
			again.Backends[i].Restore(c.State, snapshotRules, snapshotChecks, c.Statuses())
			if b.EjectionState() != c.EjectionState() || b.EffectiveWeight() != c.EffectiveWeight() || b.Up() != c.Up() || b.AdminState() != c.AdminState() {
				t.Errorf("%+v and %+v restore different things", s.Backends[i], again.Backends[i])
			}
		}
	})
}

// The endpoint of a record has the numbers that the record omits, since a pool relies on both.
func TestEndpointOfARecord(t *testing.T) {
	s, err := DecodeSnapshot([]byte(`{"version":1,"saved":"2026-01-02T03:04:05Z","backends":[{"pool":"p","address":"a","operator":{"added":{"pool":"p","id":"i"}}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	e := s.Backends[0].Operator.Added.Endpoint("a")
	if e.Weight == nil || *e.Weight != 1 || e.MaxRequests == nil || *e.MaxRequests != 0 {
		t.Errorf("weight %v, max_requests %v; want 1 and 0", e.Weight, e.MaxRequests)
	}
}
