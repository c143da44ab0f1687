// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"errors"
	"iter"
	"net/http"
	"strconv"
	"strings"
)

// storable reports whether a shared cache may store a response and reuse it without validation
// (RFC 9111, 3 and 4.2), which would give the session to other clients. Without explicit
// freshness, a cache may use Last-Modified.
func storable(req *http.Request, res *http.Response) bool {
	if req.Method != http.MethodGet && req.Method != http.MethodHead || res.StatusCode < 200 || res.Header.Get("Vary") == "*" {
		return false
	}
	public, fresh, stated := false, false, false
	for name, value := range directives(res.Header["Cache-Control"]) {
		switch name {
		case "no-store":
			return false
		case "private", "no-cache":
			// With arguments, the directive applies to these fields only.
			if value == "" || lists(value, "Set-Cookie") {
				return false
			}
		case "public", "must-revalidate":
			public = true
		case "s-maxage", "max-age":
			age, err := strconv.Atoi(value)
			stated = true
			fresh = fresh || age > 0 && (err == nil || errors.Is(err, strconv.ErrRange)) // 1.2.2: an overflow means a long time
			public = public || name == "s-maxage"
		}
	}
	if !stated {
		expires, err := http.ParseTime(res.Header.Get("Expires"))
		date, dateErr := http.ParseTime(res.Header.Get("Date"))
		switch {
		case res.Header.Get("Expires") != "":
			fresh = err == nil && (dateErr != nil || expires.After(date))
		default:
			fresh = public || res.Header.Get("Last-Modified") != ""
		}
	}
	return fresh && (public || req.Header.Get("Authorization") == "")
}

// directives yields the directives of Cache-Control: their names in lower case, and their
// arguments without quotes.
func directives(lines []string) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for _, line := range lines {
			for line != "" {
				end, quoted := 0, false
				for ; end < len(line) && (quoted || line[end] != ','); end++ {
					if line[end] == '"' {
						quoted = !quoted
					}
				}
				name, value, _ := strings.Cut(line[:end], "=")
				if !yield(strings.ToLower(strings.TrimSpace(name)), strings.Trim(strings.TrimSpace(value), `"`)) {
					return
				}
				line = line[min(end+1, len(line)):]
			}
		}
	}
}

// lists reports whether a list of field names contains field, ignoring case.
func lists(fields, field string) bool {
	for name := range strings.SplitSeq(fields, ",") {
		if strings.EqualFold(strings.TrimSpace(name), field) {
			return true
		}
	}
	return false
}
