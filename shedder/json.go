// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shedder

import (
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
)

// UnmarshalJSON implements [json.Unmarshaler]. Its errors name the JSON field.
func (m *Handler) UnmarshalJSON(data []byte) error {
	type plain Handler
	return httpx.DecodeModule(data, (*plain)(m))
}

// UnmarshalJSON implements [json.Unmarshaler]. Its errors name the JSON field.
func (m *Fixed) UnmarshalJSON(data []byte) error {
	type plain Fixed
	return httpx.DecodeModule(data, (*plain)(m))
}

// UnmarshalJSON implements [json.Unmarshaler]. Its errors name the JSON field.
func (m *Exponential) UnmarshalJSON(data []byte) error {
	type plain Exponential
	return httpx.DecodeModule(data, (*plain)(m))
}

// UnmarshalJSON implements [json.Unmarshaler]. Its errors name the JSON field.
func (m *Gradient) UnmarshalJSON(data []byte) error {
	type plain Gradient
	return httpx.DecodeModule(data, (*plain)(m))
}

// UnmarshalJSON implements [json.Unmarshaler]. Its errors name the JSON field.
func (m *Vegas) UnmarshalJSON(data []byte) error {
	type plain Vegas
	return httpx.DecodeModule(data, (*plain)(m))
}

// UnmarshalJSON implements [json.Unmarshaler]. Its errors name the JSON field.
func (m *AIMD) UnmarshalJSON(data []byte) error {
	type plain AIMD
	return httpx.DecodeModule(data, (*plain)(m))
}
