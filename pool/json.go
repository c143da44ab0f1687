// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
)

// UnmarshalJSON implements [json.Unmarshaler], so that errors name the JSON field.
func (m *App) UnmarshalJSON(data []byte) error {
	type plain App
	return httpx.DecodeModule(data, (*plain)(m))
}

// UnmarshalJSON implements [json.Unmarshaler], so that errors name the JSON field.
func (m *Source) UnmarshalJSON(data []byte) error {
	type plain Source
	return httpx.DecodeModule(data, (*plain)(m))
}
