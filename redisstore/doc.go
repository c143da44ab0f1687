// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package redisstore keeps the records of a fleet in Redis or Valkey. It is a separate Go module, so that
// the plugin does not depend on a Redis client:
//
//	xcaddy build --with github.com/ballast-lb/caddy-ballast --with github.com/ballast-lb/caddy-ballast/redisstore
//
// No request waits for Redis: the fleet calls the store on its own goroutines, and requests read
// local tables.
package redisstore
