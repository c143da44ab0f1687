// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package crossing

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// mechanism is one row of the matrix in docs/decisions/009-crossings.md.
type mechanism string

const (
	healthChecks mechanism = "health"
	guard        mechanism = "guard"
	panicking    mechanism = "panic"
	outlierRules mechanism = "outliers"
	slowStart    mechanism = "slow start"
	drain        mechanism = "drain"
	maint        mechanism = "maint"
	weightZero   mechanism = "weight 0"
	tiers        mechanism = "tiers"
	capped       mechanism = "cap"
	queue        mechanism = "queue"
	sticky       mechanism = "sticky"
	hash         mechanism = "hash"
	retry        mechanism = "retry"
	agent        mechanism = "agent"
	persist      mechanism = "persist"
	reload       mechanism = "reload"
	registration mechanism = "registration"
	discovery    mechanism = "discovery"
	hedging      mechanism = "hedge"
	pushing      mechanism = "push"
	subsetting   mechanism = "subset"
	zones        mechanism = "locality"
	inFleet      mechanism = "fleet"
	groups       mechanism = "groups"
)

var mechanisms = []mechanism{
	healthChecks, guard, panicking, outlierRules, slowStart, drain, maint, weightZero, tiers, capped, queue, sticky, hash, retry,
	agent, persist, reload, registration, discovery, hedging, pushing, subsetting, zones, inFleet, groups,
}

// needs are mechanisms that another one has no meaning without.
var needs = map[mechanism][]mechanism{guard: {healthChecks}, panicking: {healthChecks}, queue: {capped}, zones: {inFleet}}

// kind is what an event does.
type kind string

// The events, by the mechanism that they belong to; "" for every schedule.
var kinds = map[mechanism][]kind{
	"":           {"refuse", "error", "slow", "well", "well", "burst"},
	healthChecks: {"sick", "healthy", "dead", "alive"},
	guard:        {"all sick", "most sick", "all healthy"},
	panicking:    {"most sick", "all healthy"},
	outlierRules: {"error", "refuse", "hang", "well"},
	drain:        {"drain", "ready"},
	maint:        {"maint", "ready"},
	weightZero:   {"weight 0", "weight as configured", "weight 3"},
	capped:       {"cap 1", "cap as configured", "slow", "burst"},
	queue:        {"slow", "burst", "burst", "impatient"},
	agent:        {"agent drain", "agent maint", "agent ready", "agent down", "agent up", "agent 0%", "agent 100%", "agent maxconn 1", "agent maxconn 0"},
	persist:      {"restart"},
	reload:       {"reload", "reload changed", "reload rejected"},
	registration: {"register", "register", "deregister"},
	hedging:      {"slow", "hang", "well", "burst"},
	discovery:    {"discover", "lose", "source fails", "source works"},
	pushing:      {"push", "push replace", "push replace", "push drain", "push ready", "push lose", "source fails", "source works"},
	subsetting:   {"drain", "ready", "sick", "healthy", "dead", "alive"},
	groups:       {"abort", "resume", "burst"},
	inFleet: {
		"other drain", "other maint", "other ready", "other weight 0", "other weight as configured", "other register", "other burst", "other burst",
		"other ends", "other starts", "cut off", "store fails", "store loses", "store works",
	},
}

// event is one thing that happens.
type event struct {
	at      time.Duration
	kind    kind
	backend int // which one, where it is one
}

// schedule is a configuration and what happens to it. It is read-only.
type schedule struct {
	on       []mechanism
	policy   string
	backends int
	passes   int
	fails    int
	cookie   bool     // sessions by cookie, else by a header
	tier     []int    // of each backend
	weight   []int    // likewise
	zone     []string // likewise
	green    []bool   // likewise: it is in the group, else in the main one
	abroad   bool     // the other instance is in another zone
	subset   int
	ofFleet  bool // limits are those of the fleet
	wait     bool // requests wait for the fleet at the start
	byPool   bool // the pool retries, not Caddy
	events   []event
}

const (
	// length is the time in which events happen.
	length = 8 * time.Second
	// pace is the mean time between two requests.
	pace = 100 * time.Millisecond
	// maxBackends bounds a pool, with those that join at run time.
	maxBackends = 7
	// Durations of ejections.
	ejectFor    = 2 * time.Second
	maxEjectFor = 4 * time.Second
)

func (s *schedule) has(m mechanism) bool { return slices.Contains(s.on, m) }

// healing returns the time in which all must become as it was.
func (s *schedule) healing() time.Duration {
	d := 3 * time.Second // passes of checks, and the end of a registration
	if s.has(outlierRules) {
		d += 5 * time.Second // the longest ejection, and a trial
	}
	if s.has(slowStart) {
		d += 8 * time.Second // the ramp
	}
	if s.has(inFleet) {
		d += calmAfter + askedAfter // before what was asked for ends
	}
	return d
}

// generate returns a random schedule in which the given mechanisms meet.
func generate(r *rand.Rand, meet ...mechanism) *schedule {
	s := &schedule{backends: 1 + r.IntN(4), passes: 1 + r.IntN(2), fails: 1 + r.IntN(2), cookie: r.IntN(2) == 0}
	s.on = append(s.on, meet...)
	for _, m := range mechanisms {
		if r.IntN(6) == 0 {
			s.on = append(s.on, m)
		}
	}
	for i := 0; i < len(s.on); i++ {
		s.on = append(s.on, needs[s.on[i]]...)
	}
	slices.Sort(s.on)
	s.on = slices.Compact(s.on)
	policies := lbtest.KeylessPolicies()
	s.policy = policies[r.IntN(len(policies))]
	if s.has(hash) {
		policies = slices.DeleteFunc(lbtest.Policies(lbtest.ByKey), func(name string) bool { return name == "rendezvous" })
		s.policy = policies[r.IntN(len(policies))]
		if r.IntN(32) == 0 { // its table takes long to make
			s.policy = "rendezvous"
		}
	}
	for range maxBackends {
		s.tier = append(s.tier, []int{0, 0, 1, 2}[r.IntN(4)])
		s.weight = append(s.weight, []int{1, 1, 1, 3, 0}[r.IntN(5)])
		s.zone = append(s.zone, []string{"here", "here", "there", ""}[r.IntN(4)])
		s.green = append(s.green, r.IntN(2) == 0)
	}
	s.abroad, s.subset, s.ofFleet, s.wait = r.IntN(2) == 0, 1+r.IntN(3), r.IntN(2) == 0, r.IntN(2) == 0
	s.byPool = r.IntN(2) == 0
	s.weight[0], s.green[0] = 1, false // one at least serves
	var all []kind
	for _, m := range append([]mechanism{""}, s.on...) {
		all = append(all, kinds[m]...)
	}
	for range 3 + r.IntN(12) {
		e := event{time.Duration(r.Int64N(int64(length))), all[r.IntN(len(all))], r.IntN(maxBackends)}
		if s.has(pushing) && r.IntN(2) == 0 {
			e.backend = maxBackends - 3 + r.IntN(2) // one that may be pushed
		}
		s.events = append(s.events, e)
	}
	slices.SortFunc(s.events, func(a, b event) int { return int(a.at - b.at) })
	return s
}

// address returns the dial address of a backend by its number.
func address(i int) string { return fmt.Sprintf("%c:1", 'a'+i) }

// configured returns how many backends the configuration names.
func (s *schedule) configured() int {
	if s.has(discovery) {
		return max(1, s.backends-1)
	}
	return s.backends
}

// greenGroup is the name of the group, which gets the requests with greenField.
const greenGroup, greenField = "green", "X-Green"

// inGreen reports whether a backend is in the group, by its number.
func (s *schedule) inGreen(i int) bool { return s.has(groups) && s.green[i] }

// byAddress returns the values of backends by their addresses.
func byAddress[T any](values []T) map[string]T {
	all := make(map[string]T)
	for i, v := range values {
		all[address(i)] = v
	}
	return all
}

// pool returns the pool of the first or the other instance in JSON.
func (s *schedule) pool(world string, changed, other bool) string {
	var members, green []string
	for i := range s.configured() {
		m := map[string]any{"dial": address(i)}
		if s.has(tiers) {
			m["tier"] = s.tier[i]
		}
		if s.has(weightZero) {
			m["weight"] = s.weight[i]
		}
		if s.has(zones) {
			m["zone"] = s.zone[i]
		}
		if changed && i == 0 {
			m["weight"] = 2
		}
		data, _ := json.Marshal(m)
		if s.inGreen(i) {
			green = append(green, string(data))
		} else {
			members = append(members, string(data))
		}
	}
	out := []string{`"backends":[` + strings.Join(members, ",") + `]`, fmt.Sprintf(`"guard":%v`, s.has(guard))}
	var sources []string
	if s.has(discovery) {
		sources = append(sources, fmt.Sprintf(`{"source":"crossing","world":%q,"other":%v}`, world, other))
	}
	if s.has(pushing) {
		push := map[string]any{"source": "crossing_push", "world": world, "other": other}
		if s.has(tiers) {
			push["tiers"] = byAddress(s.tier)
		}
		if s.has(zones) {
			push["zones"] = byAddress(s.zone)
		}
		data, _ := json.Marshal(push)
		sources = append(sources, string(data))
	}
	if len(sources) > 0 {
		out = append(out, `"sources":[`+strings.Join(sources, ",")+`],"refresh":"1s"`)
	}
	if s.has(subsetting) {
		out = append(out, fmt.Sprintf(`"subset":%d`, s.subset))
	}
	if s.has(groups) {
		out = append(out, fmt.Sprintf(`"groups":[{"name":%q,"when":[{"header":{%q:["1"]}}],"backends":[%s]}]`, greenGroup, greenField, strings.Join(green, ",")))
	}
	if s.has(zones) {
		out = append(out, `"locality":{}`)
	}
	var checks []string
	if s.has(healthChecks) {
		checks = append(checks, fmt.Sprintf(`{"check":"crossing","world":%q,"other":%v,"interval":"500ms","timeout":"200ms","passes":%d,"fails":%d,"jitter":0.2}`, world, other, s.passes, s.fails))
	}
	if s.has(agent) {
		checks = append(checks, fmt.Sprintf(`{"check":"crossing_agent","world":%q,"interval":"300ms","port":9}`, world))
	}
	if len(checks) > 0 {
		out = append(out, `"health":[`+strings.Join(checks, ",")+`]`)
	}
	if s.has(panicking) {
		out = append(out, `"panic":0.5`)
	}
	if s.has(outlierRules) {
		out = append(out, fmt.Sprintf(`"outliers":{"eject_for":"%v","max_eject_for":"%v","interval":"1s","min_requests":10}`, ejectFor, maxEjectFor))
	} else {
		out = append(out, `"outliers":{"off":true}`)
	}
	if s.has(slowStart) {
		out = append(out, `"slow_start":{"window":"3s"}`)
	}
	switch {
	case s.has(capped) && s.has(inFleet) && s.ofFleet:
		out = append(out, `"max_requests":3,"max_requests_fleet":true`)
	case s.has(capped):
		out = append(out, `"max_requests":2`)
	}
	if s.has(queue) {
		out = append(out, `"queue":{"size":4,"timeout":"300ms"}`)
	}
	if s.has(hedging) {
		out = append(out, `"hedge":{"quantile":0.5,"max":1,"min":"1ms"}`)
	}
	if s.has(retry) && s.byPool {
		out = append(out, `"retry":{"tries":2,"on":["connect","reset","503"],"timeout":"1s","backoff":"10ms"}`)
	}
	return strings.Join(out, ",")
}

// fleet returns the fleet of the first or the other instance in JSON, after a comma, if there is one.
func (s *schedule) fleet(world string, other bool) string {
	if !s.has(inFleet) {
		return ""
	}
	zone, wait := "", "0s"
	if s.has(zones) {
		zone = "here"
	}
	if s.has(zones) && other && s.abroad {
		zone = "there"
	}
	if s.wait {
		wait = "2s"
	}
	return fmt.Sprintf(`,"fleet":{"id":"%v","zone":%q,"wait":%q,"store":{"module":"crossing","world":%q,"other":%v}}`, other, zone, wait, world, other)
}

// proxy returns the proxy in JSON.
func (s *schedule) proxy(name string) string {
	lb := map[string]any{}
	if s.has(retry) && !s.byPool {
		lb["retries"] = 2
	}
	policy := map[string]any{"policy": s.policy}
	if s.has(hash) {
		policy["key"], policy["key_name"] = "header", "X-Client"
		policy["bounded_load"] = 1.5
	}
	if s.has(sticky) {
		policy = map[string]any{"policy": "sticky", "header": "X-Client", "ttl": "1m", "fallback": policy}
		if s.cookie {
			delete(policy, "header")
			policy["cookie"] = map[string]any{"name": "session", "secret": "a secret of the test"}
		}
	}
	lb["selection_policy"] = policy
	data, _ := json.Marshal(map[string]any{
		"transport":         map[string]any{"protocol": "lbtest"},
		"load_balancing":    lb,
		"dynamic_upstreams": map[string]any{"source": "pool", "name": name},
	})
	return string(data)
}

func (s *schedule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "on: %v\npolicy: %s, %d backends, passes %d, fails %d", s.on, s.policy, s.configured(), s.passes, s.fails)
	if s.has(sticky) {
		fmt.Fprintf(&b, ", cookie %v", s.cookie)
	}
	if s.has(tiers) {
		fmt.Fprintf(&b, ", tiers %v", s.tier)
	}
	if s.has(weightZero) {
		fmt.Fprintf(&b, ", weights %v", s.weight)
	}
	if s.has(zones) {
		fmt.Fprintf(&b, ", zones %q, other abroad %v", s.zone, s.abroad)
	}
	if s.has(subsetting) {
		fmt.Fprintf(&b, ", subset %d", s.subset)
	}
	if s.has(groups) {
		fmt.Fprintf(&b, ", in the group %v", s.green)
	}
	if s.has(retry) {
		fmt.Fprintf(&b, ", retries of the pool %v", s.byPool)
	}
	if s.has(inFleet) {
		fmt.Fprintf(&b, ", wait %v, cap of the fleet %v", s.wait, s.ofFleet)
	}
	for _, e := range s.events {
		fmt.Fprintf(&b, "\n  %8v  %s %s", e.at.Truncate(time.Millisecond), e.kind, address(e.backend))
	}
	return b.String()
}
