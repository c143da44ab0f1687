// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
)

// UnmarshalJSON implements [json.Unmarshaler], so that errors name the JSON field.
func (m *WRR) UnmarshalJSON(data []byte) error {
	type plain WRR
	return httpx.DecodeModule(data, (*plain)(m))
}

// UnmarshalJSON implements [json.Unmarshaler], so that errors name the JSON field.
func (m *WeightedRandom) UnmarshalJSON(data []byte) error {
	type plain WeightedRandom
	return httpx.DecodeModule(data, (*plain)(m))
}

// UnmarshalJSON implements [json.Unmarshaler], so that errors name the JSON field.
func (m *P2C) UnmarshalJSON(data []byte) error {
	type plain P2C
	return httpx.DecodeModule(data, (*plain)(m))
}

// UnmarshalJSON implements [json.Unmarshaler], so that errors name the JSON field.
func (m *LeastRequest) UnmarshalJSON(data []byte) error {
	type plain LeastRequest
	return httpx.DecodeModule(data, (*plain)(m))
}

// UnmarshalJSON implements [json.Unmarshaler], so that errors name the JSON field.
func (m *LeastTime) UnmarshalJSON(data []byte) error {
	type plain LeastTime
	return httpx.DecodeModule(data, (*plain)(m))
}

// UnmarshalJSON implements [json.Unmarshaler], so that errors name the JSON field.
func (m *PeakEWMA) UnmarshalJSON(data []byte) error {
	type plain PeakEWMA
	return httpx.DecodeModule(data, (*plain)(m))
}

// UnmarshalJSON implements [json.Unmarshaler], so that errors name the JSON field.
func (m *Prequal) UnmarshalJSON(data []byte) error {
	type plain Prequal
	return httpx.DecodeModule(data, (*plain)(m))
}

// UnmarshalJSON implements [json.Unmarshaler], so that errors name the JSON field.
func (m *RingHash) UnmarshalJSON(data []byte) error {
	type plain RingHash
	return httpx.DecodeModule(data, (*plain)(m))
}

// UnmarshalJSON implements [json.Unmarshaler], so that errors name the JSON field.
func (m *Maglev) UnmarshalJSON(data []byte) error {
	type plain Maglev
	return httpx.DecodeModule(data, (*plain)(m))
}

// UnmarshalJSON implements [json.Unmarshaler], so that errors name the JSON field.
func (m *Rendezvous) UnmarshalJSON(data []byte) error {
	type plain Rendezvous
	return httpx.DecodeModule(data, (*plain)(m))
}
