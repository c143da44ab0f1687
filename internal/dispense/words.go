// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package dispense

import "regexp"

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
