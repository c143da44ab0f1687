// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package outlier ejects backends because of the outcomes of their requests: the circuit breaker
// of one backend ([Ejection]), the rules, the classes of failures, and the tests for errors,
// latency and stalls.
package outlier
