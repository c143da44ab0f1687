// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package lbtest

import (
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// Modules returns the names of Ballast's registered modules in a namespace, sorted, without those
// of tests. The packages of the modules must be imported.
func Modules(namespace string) (names []string) {
	const module = "github.com/ballast-lb/caddy-ballast/"
	for _, info := range caddy.GetModules(namespace) {
		f := runtime.FuncForPC(reflect.ValueOf(info.New).Pointer())
		if file, _ := f.FileLine(f.Entry()); strings.HasPrefix(f.Name(), module) && !strings.HasPrefix(f.Name(), module+"internal/") && !strings.HasSuffix(file, "_test.go") {
			names = append(names, info.ID.Name())
		}
	}
	if len(names) == 0 {
		panic("no modules in " + namespace + ": their package is not imported")
	}
	return names
}

// Kind is the criterion of a selection policy.
type Kind int

// The kinds of policies.
const (
	ByWeight  Kind = iota + 1 // weights only
	ByLoad                    // requests in flight, relative to weights
	ByLatency                 // latency, relative to weights
	ByKey                     // a key of the request
)

// kinds must have each policy. Tests of some policies select them by kind.
var kinds = map[string]Kind{
	"wrr": ByWeight, "weighted_random": ByWeight,
	"p2c": ByLoad, "least_request": ByLoad,
	"peak_ewma": ByLatency, "least_time": ByLatency, "prequal": ByLatency,
	"ring_hash": ByKey, "maglev": ByKey, "rendezvous": ByKey,
}

// Policies returns the names of Ballast's policies of the given kinds, of all for none, sorted. The
// policy sticky is left out: it uses another policy for new sessions.
func Policies(of ...Kind) (names []string) {
	for _, name := range Modules("http.reverse_proxy.selection_policies") {
		if name == "sticky" {
			continue
		}
		kind := kinds[name]
		if kind == 0 {
			panic("say in internal/lbtest which kind of policy " + name + " is")
		}
		if len(of) == 0 || slices.Contains(of, kind) {
			names = append(names, name)
		}
	}
	return names
}

// KeylessPolicies returns the names of Ballast's policies that need no key, sorted.
func KeylessPolicies() []string { return Policies(ByWeight, ByLoad, ByLatency) }

// PolicyConfigs returns the configurations of Ballast's policies of the given kinds, as of
// [Policies]. Those that need a key have the URI.
func PolicyConfigs(of ...Kind) (configs []string) {
	for _, name := range Policies(of...) {
		config := fmt.Sprintf(`{"policy":%q}`, name)
		if kinds[name] == ByKey {
			config = fmt.Sprintf(`{"policy":%q,"key":"uri"}`, name)
		}
		configs = append(configs, config)
	}
	return configs
}
