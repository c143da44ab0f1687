// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package lab compares parts of Ballast with those of others. It is a module of
// its own, so that what it is compared with is no dependency of Ballast's.
package lab
