// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package pool manages pools: sets of backends with their health and settings.
//
//	ballast                             the app: the pools that proxies share
//	http.reverse_proxy.upstreams.pool   the source that gives a proxy a pool
//
// A [Pool] combines its members from the configuration, discovery and run-time changes, has
// probers for them, and publishes views of them. It is built when the configuration is
// provisioned, runs from the app's Start to its Stop, and leaves its state to the next
// configuration.
package pool
