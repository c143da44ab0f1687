// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// maxRead is the maximum number of bytes of a response that a check reads.
const maxRead = 64 << 10

// pattern is an expected response: a text with the escapes of [unescape], or a regular
// expression between slashes, which has its own escapes.
type pattern struct {
	text string
	re   *regexp.Regexp
}

func parsePattern(s string) (*pattern, error) {
	if len(s) > 1 && strings.HasPrefix(s, "/") && strings.HasSuffix(s, "/") {
		re, err := regexp.Compile(s[1 : len(s)-1])
		if err != nil {
			return nil, fmt.Errorf("expect must be a text, or a regular expression between slashes: %w", err)
		}
		return &pattern{re: re}, nil
	}
	text, err := unescape(s)
	if err != nil {
		return nil, fmt.Errorf("expect: %w", err)
	}
	return &pattern{text: text}, nil
}

func (p *pattern) in(answer []byte) bool {
	if p.re != nil {
		return p.re.Match(answer)
	}
	return strings.Contains(string(answer), p.text)
}

// unescape replaces \r, \n, \t, \\ and \xHH by the bytes. A Caddyfile has no such escapes, and JSON
// cannot contain invalid UTF-8.
func unescape(s string) (string, error) {
	var out strings.Builder
	for rest := s; rest != ""; {
		text, escape, found := strings.Cut(rest, "\\")
		out.WriteString(text)
		if !found {
			break
		}
		var c byte
		if c, rest = unescapeOne(escape); rest == escape {
			return "", fmt.Errorf("escapes must be \\r, \\n, \\t, \\\\ or \\xHH, got %q", s)
		}
		out.WriteByte(c)
	}
	return out.String(), nil
}

// unescapeOne returns the byte of the escape that s begins with, after the backslash, and the
// rest; all of s if there is none.
func unescapeOne(s string) (c byte, rest string) {
	if s == "" {
		return 0, s
	}
	switch s[0] {
	case 'r':
		return '\r', s[1:]
	case 'n':
		return '\n', s[1:]
	case 't':
		return '\t', s[1:]
	case '\\':
		return '\\', s[1:]
	case 'x':
		if len(s) > 2 {
			if n, err := strconv.ParseUint(s[1:3], 16, 8); err == nil {
				return byte(n), s[3:]
			}
		}
	}
	return 0, s
}

// unexpectedError is the error of a response other than the expected one.
type unexpectedError struct {
	got      []byte
	expected string // as shown in the error
	err      error  // that ended the response, if any
}

// maxGot is the maximum number of bytes of the quoted response in the error. It leaves room for the
// expectation.
const maxGot = 128

func (e *unexpectedError) Error() string {
	n := min(len(e.got), maxGot)
	got := strconv.Quote(string(e.got[:n]))
	for ; len(got) > maxGot; n-- {
		got = strconv.Quote(string(e.got[:n]))
	}
	if n < len(e.got) {
		got = got[:len(got)-1] + `…"`
	}
	return fmt.Sprintf("got %s, expected %s", got, e.expected)
}

func (e *unexpectedError) Unwrap() error { return e.err }
