// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package admission decides which requests are admitted under overload: how many may be in flight,
// which are refused first, and which wait. It does not depend on HTTP.
package admission
