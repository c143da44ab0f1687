// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package register contains the handler pool_register, with which backends join and leave a
// pool themselves.
package register
