// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package tracked

import (
	"net/http"
	"testing"
)

// Media types have no case (RFC 9110, 8.3.1).
func TestIsGRPC(t *testing.T) {
	for kind, want := range map[string]bool{
		"application/grpc": true, "application/grpc+proto": true, "Application/gRPC; charset=utf-8": true, "APPLICATION/GRPC+JSON": true,
		"application/json": false, "application/grp": false, "text/plain": false, "": false,
	} {
		if got := isGRPC(&http.Response{Header: http.Header{"Content-Type": {kind}}}); got != want {
			t.Errorf("%q: %v", kind, got)
		}
	}
	if isGRPC(&http.Response{Header: http.Header{}}) {
		t.Error("without a media type")
	}
}
