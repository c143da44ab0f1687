// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package redisstore keeps the records of a fleet in Redis or Valkey. It is a Go module of its own,
// so that the plugin requires no client of Redis:
//
//	xcaddy build --with github.com/ballast-lb/caddy-ballast --with github.com/ballast-lb/caddy-ballast/redisstore
//
// No request waits for Redis: the fleet calls the store on its own goroutines, and requests read
// local tables.
package redisstore
