// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package httpx

import (
	"fmt"
	"strconv"
	"strings"
)

// StatusCodes is a set of status codes. Read-only.
type StatusCodes []StatusRange

// StatusRange is a range of status codes, including both ends.
type StatusRange struct {
	// From and To are the ends.
	From, To int
}

// ParseStatusCodes parses codes such as "204", ranges such as "200-399" and classes such as
// "2xx". option is the name of the option for errors.
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
		n, err := strconv.ParseUint(class, 10, 8) // Atoi accepts a sign
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

// Contain reports whether the set contains a code.
func (cs StatusCodes) Contain(code int) bool {
	for _, c := range cs {
		if c.From <= code && code <= c.To {
			return true
		}
	}
	return false
}
