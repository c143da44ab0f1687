// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package admin shows and changes pools while Caddy runs: with routes of Caddy's
// admin endpoint, and with the command `caddy ballast`, which is a client of them.
package admin
