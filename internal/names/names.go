// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package names

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// invisible are characters that are not displayed, or that change how others are displayed. With
// them two names may look the same.
var invisible = []*unicode.RangeTable{unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp}

// Readable reports whether a text is valid UTF-8 without control and format characters.
func Readable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return unicode.In(r, invisible...) })
}

// Dotted reports whether a path has a "." or ".." segment. Clients remove these, and ".." with
// the segment before it.
func Dotted(text string) bool {
	for part := range strings.SplitSeq(text, "/") {
		if part == "." || part == ".." {
			return true
		}
	}
	return false
}

// CheckPoolName returns an error if name is not a valid name of a pool. A name must not look like
// an address or a placeholder, and must be valid as one segment of a path.
func CheckPoolName(name string) error {
	odd := func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune(":/{}", r) }
	switch {
	case name == "" || strings.ContainsFunc(name, odd):
		return fmt.Errorf("a pool's name must be one word without colon, slash or braces, got %q", name)
	case !Readable(name):
		return fmt.Errorf("a pool's name must be readable text without control and format characters, got %q; write letters, digits and hyphens", name)
	case Dotted(name):
		return fmt.Errorf("a pool's name must not be %q, which paths of the admin API cannot have; write a word", name)
	}
	return nil
}
