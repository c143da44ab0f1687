// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package dashboard contains the page that shows the current state of pools: at Caddy's admin
// endpoint, with controls, and through the handler pool_status at other sites, without.
package dashboard
