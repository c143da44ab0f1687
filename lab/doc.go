// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package lab has experiments, load tests and comparisons with other load balancers. It is a
// separate module, so that its dependencies are not those of Ballast.
package lab
