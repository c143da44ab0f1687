// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

//go:build race

package shedder_test

const raceDetector = true
