// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package history

import "strconv"

// digits is the number of significant digits of a value in JSON.
const digits = 4

// MarshalJSON implements [json.Marshaler]. Unknown values are null.
func (v Values) MarshalJSON() ([]byte, error) {
	text := append(make([]byte, 0, 4*len(v)+2), '[')
	for i, one := range v {
		if i > 0 {
			text = append(text, ',')
		}
		if one != one {
			text = append(text, "null"...)
			continue
		}
		text = strconv.AppendFloat(text, float64(one), 'g', digits, 32)
	}
	return append(text, ']'), nil
}
