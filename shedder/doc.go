// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package shedder contains the handler that refuses requests under overload, with its
// limiters, priorities, keys, triggers and queue. The decisions are made in
// [github.com/ballast-lb/caddy-ballast/shedder/internal/admission].
package shedder
