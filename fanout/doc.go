// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package fanout contains the handler that sends a request to all backends of a pool: a cache
// purge, a password change, a configuration push. It reads the request once, sends it to all
// backends at once, retries failures, and answers when enough backends have accepted it.
//
//	quorum, backoff, report   the rules; independent of Caddy
//	targets                   which backends get the request
//	run, try, answer          one fan-out, one try of it, and the answer to the client
//	stats                     counters and limits, kept over reloads
package fanout
