// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package caddyfileutil

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// target has a field for each kind of option.
type target struct {
	n        int
	optional *int
	wait     caddy.Duration
	ratio    *float64
	size     Size
	text     string
	texts    []string
	mode     string
	flag     bool
	pairs    map[string]string
}

func (t *target) parse(tokens string) error {
	t.pairs = make(map[string]string)
	d := caddyfile.NewTestDispenser(tokens)
	Head(d, &t.text)
	return Block(d, Options{
		"n": Ints{1, 9}.Option(&t.n), "many": Ints{2, math.MaxInt}.Option(&t.n), "optional": Ints{0, 9}.Pointer(&t.optional),
		"wait": Duration(&t.wait), "size": Sizes{1e6}.Option(&t.size), "ratio": AnyRatio.Pointer(&t.ratio), "text": String(&t.text),
		Repeat("texts"): Strings(&t.texts), "mode": Words{"on", "off"}.Option(&t.mode), "flag": Flag(&t.flag), Repeat("pair"): Pair(t.pairs),
	}.Hint(map[string]string{"max-conns": "write `n <n>`"}))
}

func TestOptions(t *testing.T) {
	var got target
	err := got.parse("module arg {\n n 9\n optional 0\n wait 1.5s\n ratio 34%\n size 64KB\n texts a b\n texts c\n mode off\n flag\n pair k v\n pair l w\n}")
	if err != nil {
		t.Fatal(err)
	}
	if got.n != 9 || *got.optional != 0 || time.Duration(got.wait) != 1500*time.Millisecond || *got.ratio != 0.34 || got.size != 64000 || got.text != "arg" ||
		strings.Join(got.texts, "") != "abc" || got.mode != "off" || !got.flag || got.pairs["k"]+got.pairs["l"] != "vw" {
		t.Errorf("got %+v", got)
	}
}

// Whatever is wrong is said with file and line, and with what to write instead.
func TestErrors(t *testing.T) {
	for tokens, want := range map[string]string{
		"m a b":                           "unexpected argument \"b\"",
		"m {\n nope 1\n}":                 "unrecognized option \"nope\"; write one of: flag, many, mode, n, optional, pair, ratio, size, text, texts, wait",
		"m {\n Flag\n}":                   "unrecognized option \"Flag\"; write `flag`",
		"m {\n n=1\n}":                    "unrecognized option \"n=1\"; write `n`",
		"m {\n texts... a\n}":             "unrecognized option \"texts...\"; write `texts`",
		"m {\n maxConns 1\n}":             "unrecognized option \"maxConns\"; write `n <n>`",
		"m {\n max-conns=1\n}":            "unrecognized option \"max-conns=1\"; write `n <n>`",
		"m {\n max_conns?\n}":             "unrecognized option \"max_conns?\"; write `n <n>`",
		"m {\n n 1\n n 2\n}":              "option \"n\" is given twice",
		"m {\n n\n}":                      "number is missing",
		"m {\n n 1 2\n}":                  "unexpected argument \"2\"",
		"m {\n n 0\n}":                    "n must be a whole number from 1 to 9, got \"0\"",
		"m {\n n ten\n}":                  "whole number from 1 to 9, got \"ten\"",
		"m {\n many 1\n}":                 "whole number of at least 2",
		"m {\n optional -1\n}":            "from 0 to 9",
		"m {\n n 1 {\n x\n }\n}":          "n has no block; remove the braces, at Testfile:2",
		"m {\n n 1 {\n }\n}":              "n has no block; remove the braces, at Testfile:2",
		"m {\n wait 0\n}":                 "wait must be a duration from 1ms to 365d such as 2s, got \"0\"",
		"m {\n wait -1s\n}":               "duration from 1ms",
		"m {\n wait 999us\n}":             "duration from 1ms",
		"m {\n wait 366d\n}":              "duration from 1ms",
		"m {\n wait soon\n}":              "duration from 1ms",
		"m {\n ratio 0.5\n}":              "ratio from 0% to 100%",
		"m {\n ratio 101%\n}":             "ratio from 0% to 100%",
		"m {\n ratio NaN%\n}":             "ratio from 0% to 100%",
		"m {\n size\n}":                   "size is missing",
		"m {\n size 0\n}":                 "size must be a size from 1 byte to 1.0 MB such as 512KB or 1MB, got \"0\"",
		"m {\n size 1.1MB\n}":             "size from 1 byte to 1.0 MB",
		"m {\n size -1\n}":                "size from 1 byte",
		"m {\n size big\n}":               "size from 1 byte",
		"m {\n text\n}":                   "text is missing",
		"m {\n texts\n}":                  "at least one",
		"m {\n mode maybe\n}":             "mode must be on or off, got \"maybe\"",
		"m {\n flag yes\n}":               "takes no arguments",
		"m {\n text {env.A}b\n}":          "text must not have run-time placeholders, got \"{env.A}b\"; write {$A}b, which is replaced when the Caddyfile is read",
		"m {\n text {system.hostname}\n}": "text must not have run-time placeholders, got \"{system.hostname}\"; write the value itself",
		"m {\n text {file./a}{env.A}\n}":  "got \"{file./a}{env.A}\"; write the value itself",
		"m {\n texts a {env.A}\n}":        "texts must not have run-time placeholders",
		"m {\n pair k {env.A}\n}":         "pair must not have run-time placeholders",
		"m {\n n {env.A}\n}":              "n must be a whole number from 1 to 9, got \"{env.A}\"; write {$A}, which",
		"m {\n wait {env.A}s\n}":          "got \"{env.A}s\"; write {$A}s, which",
		"m {\n mode {env.A}\n}":           "mode must be on or off, got \"{env.A}\"; write {$A}, which",
		"m {\n pair k\n}":                 "a key and a value",
		"m {\n pair k v\n pair k w\n}":    "pair \"k\" is given twice",
	} {
		err := new(target).parse(tokens)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Testfile:") {
			t.Errorf("%q: got %v, want %q with file and line", tokens, err, want)
		}
	}
}

// mute cannot be configured in a Caddyfile.
type mute struct{}

func (mute) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "dispense.mute", New: func() caddy.Module { return new(mute) }}
}

func init() { caddy.RegisterModule(mute{}) } // once, however often the test runs

func TestModuleThatIsNoUnmarshaler(t *testing.T) {
	d := caddyfile.NewTestDispenser("store mute")
	d.Next()
	const want = `store "mute" cannot be written in a Caddyfile, since *caddyfileutil.mute has no UnmarshalCaddyfile method; configure it in JSON, at Testfile:1`
	if _, err := Module(d, "dispense", "module", "store"); err == nil || err.Error() != want {
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestModule(t *testing.T) {
	for tokens, want := range map[string]string{
		"health":      "the name of a check is missing; write one of:",
		"health nope": "unknown check \"nope\"; write one of:",
	} {
		d := caddyfile.NewTestDispenser(tokens)
		d.Next()
		if _, err := Module(d, "nowhere", "check", "check"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", tokens, err, want)
		}
	}
}

func TestCheckDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "", time.Millisecond: "", Year: "",
		-1:       "wait must be a duration from 1ms to 365d such as 2s, got -1ns",
		10:       "got 10ns; a number is in nanoseconds, write a string with a unit such as \"2s\"",
		Year + 1: "wait must be a duration from 1ms to 365d such as 2s, got 8760h0m0.000000001s",
	} {
		switch err := CheckDuration("wait", caddy.Duration(d)); {
		case want == "" && err != nil, want != "" && (err == nil || !strings.HasSuffix(err.Error(), want)):
			t.Errorf("%v: got %v, want %q", d, err, want)
		}
	}
	if got := (Durations{90 * time.Minute, time.Hour}).String(); got != "a duration from 1h30m to 1h such as 1h30m" {
		t.Error(got)
	}
}
