// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package httpx

import (
	"strings"
	"testing"
)

func TestCodes(t *testing.T) {
	cs, err := ParseStatusCodes("expect_status", []string{"204", "3xx", "400-404"})
	if err != nil {
		t.Fatal(err)
	}
	for code, want := range map[int]bool{204: true, 200: false, 299: false, 300: true, 399: true, 400: true, 404: true, 405: false} {
		if cs.Contain(code) != want {
			t.Errorf("%d is expected: %v, want %v", code, !want, want)
		}
	}
	for _, bad := range []string{"", "ok", "99", "600", "6xx", "0xx", "xx", "300-200", "200-", "-200", "2x", "200-700"} {
		if _, err := ParseStatusCodes("expect_status", []string{bad}); err == nil {
			t.Errorf("accepted %q", bad)
		}
	}
}

// Whatever is accepted contains only status codes, and at least one.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"2xx", "200", "200-399", "5xx 404", "", "6xx", "0xx", "399-200", "99", "600", "+200", "-200", "2Xx", "1e2", "200-", "20xx", "\u0662xx"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		texts := strings.Fields(text)
		cs, err := ParseStatusCodes("expect_status", texts)
		if err != nil {
			if cs != nil {
				t.Errorf("%q: both %v and %v", text, cs, err)
			}
			return
		}
		if len(cs) != len(texts) {
			t.Errorf("%q has %d parts, got %d", text, len(texts), len(cs))
		}
		for i, c := range cs {
			if c.From < 100 || c.From > c.To || c.To > 599 {
				t.Errorf("%q is %v", texts[i], c)
			}
			if strings.Trim(texts[i], "0123456789x-") != "" || texts[i][0] == '-' {
				t.Errorf("%q is accepted", texts[i])
			}
			if !cs.Contain(c.From) || !cs.Contain(c.To) {
				t.Errorf("%v does not contain %v", cs, c)
			}
		}
		if cs.Contain(99) || cs.Contain(600) {
			t.Errorf("%q contains what is no status code", text)
		}
	})
}
