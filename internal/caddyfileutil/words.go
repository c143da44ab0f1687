// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package caddyfileutil

import (
	"regexp"

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

// hinted marks the keys of words that are not options, but have a hint.
const hinted = "?"

// Hint adds hints for words that are not options here, such as those of other load balancers or
// other directives, with what to write instead. It returns opts.
func (opts Options) Hint(words map[string]string) Options {
	for word, instead := range words {
		opts[word+hinted] = func(d *caddyfile.Dispenser) error {
			return d.Errf("unrecognized option %q; %s", word, instead)
		}
	}
	return opts
}
