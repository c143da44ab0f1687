// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package caddyfileutil

import (
	"regexp"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

var environment = regexp.MustCompile(`\{env\.([^{}]+)\}`)

// Environment returns text with the variables of the environment as a Caddyfile has
// them when it is read: {env.HOST} becomes {$HOST}. It returns nothing if there are
// none.
func Environment(text string) string {
	if !environment.MatchString(text) {
		return ""
	}
	return environment.ReplaceAllString(text, "{$$$1}")
}

// hinted marks what is no option, but a word of others for one.
const hinted = "?"

// Hint adds words that are no options here, with what to write instead: those of other
// load balancers, and those of other places. It returns opts.
func (opts Options) Hint(words map[string]string) Options {
	for word, instead := range words {
		opts[word+hinted] = func(d *caddyfile.Dispenser) error {
			return d.Errf("unrecognized option %q; %s", word, instead)
		}
	}
	return opts
}
