// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"net/http"
	"strconv"
	"strings"
)

// storable reports whether a cache that is shared may store a response and give it
// to others without asking again (RFC 9111, 3 and 4.2): it would give them the
// session, too. Without any word on it a cache goes by Last-Modified, if by
// anything.
func storable(req *http.Request, res *http.Response) bool {
	if req.Method != http.MethodGet && req.Method != http.MethodHead || res.StatusCode < 200 || res.Header.Get("Vary") == "*" {
		return false
	}
	public, fresh, stated := false, false, false
	for _, line := range res.Header["Cache-Control"] {
		for word := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(word), "=")
			switch strings.ToLower(name) {
			case "no-store", "private", "no-cache":
				return false
			case "public", "must-revalidate":
				public = true
			case "s-maxage", "max-age":
				age, err := strconv.Atoi(strings.Trim(value, `"`))
				stated = true
				fresh = fresh || err == nil && age > 0
				public = public || name == "s-maxage"
			}
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
