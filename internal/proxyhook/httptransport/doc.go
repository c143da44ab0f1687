// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package httptransport reads the options of a proxy's transport, so that health checks reach
// backends as requests do.
package httptransport
