// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shedder_test

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/shedder"
)

// matcherToken parses matchers as Caddy does in a site that defines @a.
func matcherToken(d *caddyfile.Dispenser) (caddy.ModuleMap, bool, error) {
	if !d.NextArg() {
		return nil, false, nil
	}
	switch word := d.Val(); {
	case word == "*":
		return nil, true, nil
	case word == "@a":
		return caddy.ModuleMap{"method": json.RawMessage(`["GET"]`)}, true, nil
	case strings.HasPrefix(word, "@"):
		return nil, false, errors.New("unrecognized matcher name")
	case strings.HasPrefix(word, "/"):
		return caddy.ModuleMap{"path": caddyconfig.JSON([]string{word}, nil)}, true, nil
	}
	return nil, false, nil
}

// A Caddyfile that the parser accepts must round-trip through JSON, and Provision must accept it
// too, unless the error is one that the parser cannot see.
func FuzzUnmarshal(f *testing.F) {
	for _, seed := range []string{
		"shed", "shed {\n}", "shed fixed 10", "shed exponential 10 0.3", "shed adaptive {\n algorithm vegas\n}", "shed fixed {\n limit 1000000\n}",
		"shed exponential {\n limit 5\n slope 100\n}", "shed {\n initial_limit 5\n min_limit 5\n max_limit 10\n tolerance 2\n}",
		"shed {\n algorithm aimd\n latency 1ms\n min_limit 2000\n}", "shed {\n queue 10\n}", "shed fixed 5 {\n queue 1000000 1s\n}",
		"shed {\n priority critical @a\n priority low /b/*\n priority background *\n}", "shed {\n priority low *\n priority low /a\n}",
		"shed {\n per client_ip\n max_keys 16\n}", "shed {\n max_keys 10000000\n per header X-A\n}", "shed {\n per query q\n}", "shed {\n per \"{host} {path}\"\n}",
		"shed {\n when cpu > 90%\n when pressure_io > 0.1%\n}", "shed {\n status 429\n retry_after 2s\n shadow\n name a\n}", "shed {\n retry_after auto\n}",
		"shed {\n min_limit 10\n max_limit 5\n}", "shed fixed", "shed fixed 5 {\n limit 5\n}", "shed 5", "shed {\n priority low @b\n}", "shed {\n per uri x\n}",
		"shed {\n slope NaN\n}", "shed exponential 1 NaN", "shed {\n when cpu > NaN%\n}", "shed {\n queue 1 {\n x\n}\n}", "shed {\n name \"\"\n}", "shed {", "shed }", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, tokens string) {
		lbtest.Tokens(t, tokens)
		h := new(shedder.Handler)
		if err := h.Unmarshal(caddyfile.NewTestDispenser(tokens), matcherToken); err != nil {
			if !strings.Contains(err.Error(), "Testfile:") {
				t.Errorf("%q: no file and line in %v", tokens, err)
			}
			return
		}
		enc, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		again := new(shedder.Handler)
		if err := caddy.StrictUnmarshalJSON(enc, again); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(h, again) {
			t.Errorf("%s: %+v != %+v", enc, h, again)
		}
		ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
		defer cancel()
		if _, err := ctx.LoadModuleByID("http.handlers.shed", enc); err != nil && !onlySeenLater(err) {
			t.Errorf("the parser accepts %q, but Provision rejects its JSON %s: %v", tokens, enc, err)
		}
	})
}

// onlySeenLater reports whether an error is one that only the provisioning of a matcher finds.
func onlySeenLater(err error) bool {
	return strings.Contains(err.Error(), "loading matchers of priority")
}
