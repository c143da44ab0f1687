// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package pool makes pools: sets of backends with everything known about them.
//
//	ballast                             the app: the pools that proxies share
//	http.reverse_proxy.upstreams.pool   the source that gives a proxy a pool
//
// A [PoolReport] assembles its members from the configuration and from discovery,
// has them probed, and publishes views of them. It is built when the
// configuration is provisioned, works from the app's Start to its Stop, and
// leaves what it learned to the next configuration.
package pool
