// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package httpx has what several features need of HTTP: strict JSON from outside, sets of status
// codes, keys of requests, and rejections of requests whose bodies nobody has read.
package httpx
