// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package fanout has the handler that sends a request to all backends of a pool:
// a cache purge, a password change, a push of configuration. It reads the request
// once, sends it to all at once, tries again where it fails, and answers when
// enough backends have accepted it.
//
//	quorum, backoff, report   the rules; they know no Caddy
//	targets                   who gets the request
//	run, try, answer          one fan-out, one attempt of it, and what the client gets
//	ledger, roster            what is counted and bounded, over reloads
package fanout
