// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"os"
	"sync/atomic"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/version"
)

// Process describes this process.
type Process struct {
	Host    string  `json:"host"`              // host name
	Caddy   string  `json:"caddy"`             // version of Caddy
	Ballast string  `json:"ballast,omitempty"` // version of Ballast; empty if the build has none
	Uptime  float64 `json:"uptime_seconds"`    // of the process
	// Configured is when the running configuration was started.
	Configured time.Time `json:"configured"`
}

// configured is when a configuration was started last, in Unix nanoseconds.
var configured atomic.Int64

func thisProcess() Process {
	host, _ := os.Hostname() // empty if it has none
	return Process{
		Host: host, Caddy: version.Caddy(), Ballast: version.Ballast(),
		Uptime: clock.Uptime().Seconds(), Configured: time.Unix(0, configured.Load()).UTC(),
	}
}
