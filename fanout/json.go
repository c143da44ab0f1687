// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
)

// UnmarshalJSON implements [json.Unmarshaler]. Its errors name the JSON field.
func (m *Handler) UnmarshalJSON(data []byte) error {
	type plain Handler
	return httpx.DecodeModule(data, (*plain)(m))
}
