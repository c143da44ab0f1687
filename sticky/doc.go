// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package sticky sends the requests of a client to one backend, by an encrypted cookie or by a
// session store.
package sticky
