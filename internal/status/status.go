// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package status reads sets of status codes, as options have them.
package status

import (
	"fmt"
	"strconv"
	"strings"
)

// StatusCodes are status codes. Read-only.
type StatusCodes []StatusRange

// StatusRange is a range of status codes, with both its ends.
type StatusRange struct {
	// From and To are the ends.
	From, To int
}

// ParseStatusCodes parses codes such as "204", ranges such as "200-399" and classes such as
// "2xx", of the option of that name.
func ParseStatusCodes(option string, texts []string) (StatusCodes, error) {
	var cs StatusCodes
	for _, text := range texts {
		r, ok := parseStatusRange(text)
		if !ok {
			return nil, fmt.Errorf("%s must be codes such as 204, 2xx or 200-399, got %q", option, text)
		}
		cs = append(cs, r)
	}
	return cs, nil
}

func parseStatusRange(text string) (StatusRange, bool) {
	if class, ok := strings.CutSuffix(text, "xx"); ok {
		n, err := strconv.ParseUint(class, 10, 8) // Atoi would take a sign
		return StatusRange{int(n) * 100, int(n)*100 + 99}, err == nil && n >= 1 && n <= 5
	}
	low, high, isRange := strings.Cut(text, "-")
	if !isRange {
		high = low
	}
	from, err1 := strconv.ParseUint(low, 10, 16)
	to, err2 := strconv.ParseUint(high, 10, 16)
	return StatusRange{int(from), int(to)}, err1 == nil && err2 == nil && 100 <= from && from <= to && to <= 599
}

// Contain reports whether a code is one of them.
func (cs StatusCodes) Contain(code int) bool {
	for _, c := range cs {
		if c.From <= code && code <= c.To {
			return true
		}
	}
	return false
}
