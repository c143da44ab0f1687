// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package l4 sends the connections of caddy-l4 to the backends of Ballast's pools. Add it to Caddy with
// `xcaddy build --with github.com/ballast-lb/caddy-ballast/l4`.
package l4
