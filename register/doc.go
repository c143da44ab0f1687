// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package register holds the handler pool_register, with which backends join and
// leave a pool by themselves.
package register
