// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package shedder refuses requests to protect the rest: a handler, limiters that
// say how many may be in flight, priorities, and a queue. What decides is in
// [github.com/ballast-lb/caddy-ballast/shedder/internal/admission].
package shedder
