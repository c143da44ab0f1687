// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package httpx

import (
	"fmt"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// CheckField returns an error if an option does not name a header field (RFC 9110, 5.1).
func CheckField(option, name string) error {
	if !httpguts.ValidHeaderFieldName(name) {
		return fmt.Errorf("%s must be the name of a header field such as X-User, got %q", option, name)
	}
	return nil
}

// CheckCookie returns an error if an option does not name a cookie. It accepts all names that
// browsers send, which are more than those of RFC 6265, 4.1.1.
func CheckCookie(option, name string) error {
	if name == "" || strings.ContainsFunc(name, notInCookie) {
		return fmt.Errorf("%s must be the name of a cookie such as session, got %q", option, name)
	}
	return nil
}

// notInCookie reports whether the name of a cookie cannot contain r. Braces would be a placeholder,
// which is not replaced.
func notInCookie(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune("=;{}", r) }
