// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package httpx

import (
	"net/http"
	"testing"
)

func TestIsGRPC(t *testing.T) {
	for kind, want := range map[string]bool{
		"application/grpc":                true,
		"Application/GRPC":                true,
		"application/grpc+proto":          true,
		"application/grpc;charset=utf-8":  true,
		"application/grpc-web":            false,
		"application/grpc-web-text+proto": false,
		"application/json":                false,
		"":                                false,
	} {
		if got := IsGRPC(&http.Request{Header: http.Header{"Content-Type": {kind}}}); got != want {
			t.Errorf("%q: %v, want %v", kind, got, want)
		}
	}
	if IsGRPC(&http.Request{Header: http.Header{}}) {
		t.Error("a request without a type is one of gRPC")
	}
}

// The examples are those of the gRPC over HTTP2 specification's grammar: %x20-%x24
// and %x26-%x7E are not encoded.
func TestPercentEncode(t *testing.T) {
	for message, want := range map[string]string{
		"pool web: all_down": "pool web: all_down",
		"100%":               "100%25",
		"é\n~":               "%C3%A9%0A~",
	} {
		if got := percentEncode(message); got != want {
			t.Errorf("%q: %q, want %q", message, got, want)
		}
	}
}
