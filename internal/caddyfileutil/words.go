// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package caddyfileutil

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

var environment = regexp.MustCompile(`\{env\.([^{}]+)\}`)

// Environment returns text with environment variables in the form that a Caddyfile replaces when
// it is parsed: {env.HOST} becomes {$HOST}. It returns "" if there are none.
func Environment(text string) string {
	if !environment.MatchString(text) {
		return ""
	}
	return environment.ReplaceAllString(text, "{$$$1}")
}

var global = regexp.MustCompile(`\{((?:env|file|system)\.[^{}]+)\}`)

// HasGlobal reports whether [Global] has something to replace.
func HasGlobal(text string) bool { return global.MatchString(text) }

// Global replaces the placeholders {env.*}, {file.*} and {system.*} in an option, when a
// configuration is loaded. Other braces stay, such as those of JSON. A placeholder without a value
// is an error: a secret must not become empty in silence.
func Global(option, text string) (string, error) {
	repl, missing := caddy.NewReplacer(), ""
	out := global.ReplaceAllStringFunc(text, func(placeholder string) string {
		value, _ := repl.GetString(strings.Trim(placeholder, "{}"))
		if value == "" {
			missing = placeholder
		}
		return value
	})
	if missing != "" {
		return "", fmt.Errorf("%s must not have placeholders without a value, got %s", option, missing)
	}
	return out, nil
}

// hinted marks the keys of words that are not options, but have a hint.
const hinted = "?"

// Hint adds hints for words that are not options here, such as those of other load balancers or
// other directives, with what to write instead. Words are the same in any [spelling]. It returns
// opts.
func (opts Options) Hint(words map[string]string) Options {
	for word, instead := range words {
		opts[spelling(word)+hinted] = func(d *caddyfile.Dispenser) error {
			return d.Errf("unrecognized option %q; %s", d.Val(), instead)
		}
	}
	return opts
}

// Has reports whether a word is an option, or has a hint, in any [spelling].
func (opts Options) Has(word string) bool {
	name := spelling(word)
	return opts[name] != nil || opts[name+repeated] != nil || opts[name+hinted] != nil
}

// unrecognized returns the error for a word that is not an option. The dispenser is positioned on
// it.
func (opts Options) unrecognized(d *caddyfile.Dispenser) error {
	name := spelling(d.Val())
	if opts[name] != nil || opts[name+repeated] != nil {
		return d.Errf("unrecognized option %q; write `%s`", d.Val(), name)
	}
	if hint := opts[name+hinted]; hint != nil {
		return hint(d)
	}
	return d.Errf("unrecognized option %q; %s", d.Val(), opts.choice())
}

var capital = regexp.MustCompile(`([a-z0-9])([A-Z])`)

// spelling returns a word as options are spelled here: maxConns, max-conns and max_conns=5 are
// max_conns.
func spelling(word string) string {
	word, _, _ = strings.Cut(strings.TrimRight(word, "?."), "=")
	return strings.ToLower(strings.ReplaceAll(capital.ReplaceAllString(word, "${1}_$2"), "-", "_"))
}
