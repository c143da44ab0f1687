// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shedder

import "github.com/ballast-lb/caddy-ballast/internal/strict"

// UnmarshalJSON implements [json.Unmarshaler]. Its errors name the JSON field.
func (m *Handler) UnmarshalJSON(data []byte) error {
	type plain Handler
	return strict.DecodeModule(data, (*plain)(m))
}

// UnmarshalJSON implements [json.Unmarshaler]. Its errors name the JSON field.
func (m *Fixed) UnmarshalJSON(data []byte) error {
	type plain Fixed
	return strict.DecodeModule(data, (*plain)(m))
}

// UnmarshalJSON implements [json.Unmarshaler]. Its errors name the JSON field.
func (m *Exponential) UnmarshalJSON(data []byte) error {
	type plain Exponential
	return strict.DecodeModule(data, (*plain)(m))
}

// UnmarshalJSON implements [json.Unmarshaler]. Its errors name the JSON field.
func (m *Gradient) UnmarshalJSON(data []byte) error {
	type plain Gradient
	return strict.DecodeModule(data, (*plain)(m))
}

// UnmarshalJSON implements [json.Unmarshaler]. Its errors name the JSON field.
func (m *Vegas) UnmarshalJSON(data []byte) error {
	type plain Vegas
	return strict.DecodeModule(data, (*plain)(m))
}

// UnmarshalJSON implements [json.Unmarshaler]. Its errors name the JSON field.
func (m *AIMD) UnmarshalJSON(data []byte) error {
	type plain AIMD
	return strict.DecodeModule(data, (*plain)(m))
}
