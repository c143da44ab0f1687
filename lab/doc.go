// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package lab has experiments, load tests and comparisons with others. It is a module of
// its own, so that what they need is no dependency of Ballast's.
package lab
