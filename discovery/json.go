// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
)

// UnmarshalJSON implements [json.Unmarshaler]. Its errors name the JSON field.
func (m *Docker) UnmarshalJSON(data []byte) error {
	type plain Docker
	return httpx.DecodeModule(data, (*plain)(m))
}

// UnmarshalJSON implements [json.Unmarshaler]. Its errors name the JSON field.
func (m *File) UnmarshalJSON(data []byte) error {
	type plain File
	return httpx.DecodeModule(data, (*plain)(m))
}

// UnmarshalJSON implements [json.Unmarshaler]. Its errors name the JSON field.
func (m *HTTP) UnmarshalJSON(data []byte) error {
	type plain HTTP
	return httpx.DecodeModule(data, (*plain)(m))
}

// UnmarshalJSON implements [json.Unmarshaler]. Its errors name the JSON field.
func (m *Consul) UnmarshalJSON(data []byte) error {
	type plain Consul
	return httpx.DecodeModule(data, (*plain)(m))
}

// UnmarshalJSON implements [json.Unmarshaler]. Its errors name the JSON field.
func (m *Kubernetes) UnmarshalJSON(data []byte) error {
	type plain Kubernetes
	return httpx.DecodeModule(data, (*plain)(m))
}
