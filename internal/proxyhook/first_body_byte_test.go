// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pausing is a body that pauses before each read.
type pausing struct {
	io.Reader
	pause time.Duration
}

func (p *pausing) Read(b []byte) (int, error) {
	time.Sleep(p.pause)
	return p.Reader.Read(b)
}

// one is a reader that returns the end with its only byte, as a body of known length does.
type one struct{}

func (one) Read(b []byte) (int, error) { b[0] = 'x'; return 1, io.EOF }

// The time to the body is that of its first byte. Without a body it is that of the header.
func TestFirstBodyByte(t *testing.T) {
	const header, pause = 20 * time.Millisecond, 100 * time.Millisecond
	for name, tt := range map[string]struct {
		body   io.Reader // nil for none
		status int
		want   time.Duration
	}{
		"three bytes":       {&pausing{oneByOne(3), pause}, 200, header + pause},
		"a byte at the end": {&pausing{one{}, pause}, 200, header + pause},
		"an empty body":     {&pausing{strings.NewReader(""), pause}, 200, header},
		"no body":           {nil, 204, header},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, b := answering(t, 0, "", func(*http.Request) *http.Response {
					time.Sleep(header)
					res := &http.Response{StatusCode: tt.status, Body: http.NoBody}
					if tt.body != nil {
						res.Body = io.NopCloser(tt.body)
					}
					return res
				})
				if _, err := p.Do(httptest.NewRequest(http.MethodGet, "http://x/", nil)); err != nil {
					t.Fatal(err)
				}
				if got := b.Totals(); got.Bodies != 1 || got.BodyByte != tt.want || got.FirstByte != header {
					t.Errorf("%d bodies after %v, the header after %v, want 1 after %v", got.Bodies, got.BodyByte, got.FirstByte, tt.want)
				}
			})
		})
	}
}

// oneByOne returns a reader of n bytes, one a read.
func oneByOne(n int64) io.Reader { return io.LimitReader(bytewise{}, n) }

type bytewise struct{}

func (bytewise) Read(b []byte) (int, error) { b[0] = 'x'; return 1, nil }
