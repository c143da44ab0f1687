// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package e2e tests Ballast as its users meet it: a Caddy built from this
// repository, in a process of its own, between real clients and real backends
// on loopback. It imports nothing of Ballast. With -race, Caddy is built with
// the race detector too, and a race in it fails the test that ran it.
package e2e
