// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package caddyfileutil

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"github.com/dustin/go-humanize"
)

// Size is a number of bytes. In JSON it may also be text such as "1MB", as in a Caddyfile.
type Size int64

// UnmarshalJSON implements [json.Unmarshaler].
func (s *Size) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	if !strings.HasPrefix(string(data), `"`) {
		return json.Unmarshal(data, (*int64)(s))
	}
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	n, err := humanize.ParseBytes(text)
	if err != nil || n > math.MaxInt64 {
		return fmt.Errorf("a size must be a number of bytes, or text such as \"1MB\", got %q", text)
	}
	*s = Size(n)
	return nil
}

// Interface guards
var _ json.Unmarshaler = (*Size)(nil)
