// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package httpx

import (
	"net/http"
	"strings"
)

// RemoveConnectionFields removes the fields of a request that belong to the connection it came on (RFC
// 9110, 7.6.1), and Expect.
func RemoveConnectionFields(header http.Header) {
	for _, field := range header["Connection"] {
		for name := range strings.SplitSeq(field, ",") {
			header.Del(strings.TrimSpace(name))
		}
	}
	header.Del("Connection")
	header.Del("Upgrade")
	header.Del("Expect")
}
