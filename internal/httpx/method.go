// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package httpx

import "net/http"

// Safe reports whether a method is safe (RFC 9110, 9.2.1): a request that has it asks for no change.
func Safe(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}
