// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/ballast-lb/caddy-ballast/internal/httpx"
)

// Whatever a query describes is a request, or refused.
func FuzzDescribed(f *testing.F) {
	for _, seed := range []string{"", "client_ip=::1&uri=/a?b", "header=A:b&header=A:c", "host=x:1&method=PUT", "header=:", "uri=//x", "host=%5B::1%5D"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		r, err := described(query)
		if (r == nil) == (err == nil) {
			t.Errorf("%q: %v, %v", query, r, err)
		}
	})
}

// What a client sends is what the API reads: also what is not there, and null.
func FuzzChangeRequest(f *testing.F) {
	for _, seed := range []string{`{}`, `{"weight":null}`, `{"weight":3,"state":"drain"}`, `{"max_requests":0}`, `{"weight":1.5}`, `{"weight":"x"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var a, b ChangeRequest
		if httpx.DecodeJSON(data, &a) != nil {
			return
		}
		text, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		if err := httpx.DecodeJSON(text, &b); err != nil || !reflect.DeepEqual(a, b) {
			t.Errorf("%s became %s: %+v, %+v, %v", data, text, a, b, err)
		}
	})
}
