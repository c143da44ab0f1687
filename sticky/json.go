// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
)

// UnmarshalJSON implements [json.Unmarshaler], so that errors name the JSON field.
func (m *Sticky) UnmarshalJSON(data []byte) error {
	type plain Sticky
	return httpx.DecodeModule(data, (*plain)(m))
}

// UnmarshalJSON implements [json.Unmarshaler], so that errors name the JSON field.
func (m *Memory) UnmarshalJSON(data []byte) error {
	type plain Memory
	return httpx.DecodeModule(data, (*plain)(m))
}
