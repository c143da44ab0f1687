// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package rollout decides which share of the requests a group of a pool gets, and judges the group
// by its outcomes. It imports no Caddy and reads no clock.
//
//	Rollout     the state of one group: its steps, and whether it is paused, promoted or aborted
//	AbortRules  the sequential test that ends a rollout
//	Counts      the outcomes of the attempts of a group, which the test compares
//	Draw        maps a key to a number from 0 to 1, which is compared with the share of a group
package rollout
