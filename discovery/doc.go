// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package discovery has the sources that push backends into pools: containers of Docker or Podman, a
// file, a registry with Prometheus' HTTP service discovery, Consul and Kubernetes. Modules outside
// implement [Source] to do the same. Sources that are polled are Caddy's own upstream sources.
package discovery
