// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package dashboard is a page that shows the pools as they are: at Caddy's admin
// endpoint, where it also changes them, and through the handler pool_status at a site
// of one's own, where it does not.
package dashboard
