// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package admin contains the API that shows and changes pools at run time, at Caddy's admin
// endpoint, and its client, the command `caddy ballast`.
package admin
