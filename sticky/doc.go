// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package sticky keeps the requests of a client with one backend: by a cookie
// that only Ballast can read, or by a table of who was sent where.
package sticky
