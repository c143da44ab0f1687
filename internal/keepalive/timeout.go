// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package keepalive

import (
	"strconv"
	"strings"
	"time"
)

// Timeout returns the timeout of a field Keep-Alive, such as "timeout=5, max=100", or 0 if it has
// none.
func Timeout(field string) time.Duration {
	if field == "" {
		return 0
	}
	for parameter := range strings.SplitSeq(field, ",") {
		name, value, _ := strings.Cut(parameter, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "timeout") {
			continue
		}
		if seconds, err := strconv.ParseUint(strings.TrimSpace(value), 10, 31); err == nil {
			return time.Duration(seconds) * time.Second
		}
	}
	return 0
}
