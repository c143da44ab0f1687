// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// endless is a body that gives nothing until it is closed.
type endless struct {
	ctx    context.Context
	cancel context.CancelFunc
}

func newEndless() *endless {
	ctx, cancel := context.WithCancel(context.Background())
	return &endless{ctx, cancel}
}

func (e *endless) Read([]byte) (int, error) { <-e.ctx.Done(); return 0, io.ErrClosedPipe }

func (e *endless) Close() error { e.cancel(); return nil }

// Where the answer of forward_auth has a body, which nobody reads, its backend is rid
// of the request when the main one is sent: to the same backend, if there is no other.
func TestAnswerThatNobodyReadsGivesItsSlotBack(t *testing.T) {
	text := func(s string, length int64) func() *http.Response {
		return func() *http.Response {
			return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(s)), ContentLength: length}
		}
	}
	for name, tt := range map[string]struct {
		auth func() *http.Response
		took time.Duration
	}{
		"short":  {text("you may", 7), 0},
		"chunks": {text(strings.Repeat("x", 60<<10), -1), 0},
		"long":   {text(strings.Repeat("x", 1<<20), 1<<20), 0},
		"longer": {text(strings.Repeat("x", 1<<20), -1), 0},
		"silent": {func() *http.Response {
			return &http.Response{StatusCode: 200, Body: newEndless(), ContentLength: -1}
		}, 100 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				script = func(req *http.Request) *http.Response {
					if b := pool.Current("both").Find("a:1"); b.Taken() != 1 || b.InFlight() != 1 {
						t.Errorf("%s: %d slots are taken, %d are in flight", req.URL.Path, b.Taken(), b.InFlight())
					}
					if req.URL.Path == "/auth" {
						return tt.auth()
					}
					return text("main", 4)()
				}
				const proxy = `{"transport":{"protocol":"scripted"},"dynamic_upstreams":{"source":"pool","name":"both"}`
				proxies, err := lbtest.LoadAll(t, caddy.ModuleMap{"ballast": []byte(`{"pools":{"both":{"max_requests":1,"backends":[{"dial":"a:1"}]}}}`)}, nil,
					proxy+`,"rewrite":{"method":"GET","uri":"/auth"},"handle_response":[{"match":{"status_code":[2]},"routes":[{"handle":[{"handler":"vars"}]}]}]}`,
					proxy+`}`)
				if err != nil {
					t.Fatal(err)
				}
				began, w := time.Now(), httptest.NewRecorder()
				req := lbtest.Prepare(httptest.NewRequest(http.MethodGet, "http://x/", nil), caddy.NewReplacer(), w)
				err = proxies[0].ServeHTTP(w, req, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
					return proxies[1].ServeHTTP(w, r, nil)
				}))
				if err != nil || w.Body.String() != "main" || time.Since(began) != tt.took {
					t.Errorf("got %q after %v, %v", w.Body, time.Since(began), err)
				}
			})
		})
	}
}

// Who copies the response has all of it, wherever that is written, and so has a client
// whose response no route takes.
func TestAnswerThatIsReadIsWhole(t *testing.T) {
	const copied = `{"handle":[{"handler":"subroute","routes":[{"handle":[{"handler":"copy_response"}]}]}]}`
	for name, more := range map[string]string{
		"copied":       `[{"routes":[` + copied + `]}]`,
		"another":      `[{"match":{"status_code":[4]},"routes":[{"handle":[{"handler":"vars"}]}]}]`,
		"other status": `[{"status_code":"200"},{"routes":[{"handle":[{"handler":"vars"}]}]}]`,
		"the first":    `[{"match":{"status_code":[2]},"routes":[` + copied + `]},{"routes":[{"handle":[{"handler":"vars"}]}]}]`,
	} {
		t.Run(name, func(t *testing.T) {
			body := strings.Repeat("x", 1<<20)
			p, b := answering(t, 1, `,"handle_response":`+more, func(*http.Request) *http.Response {
				return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}
			})
			w, err := p.Do(httptest.NewRequest(http.MethodGet, "http://x/", nil))
			if err != nil || w.Body.String() != body || b.Taken() != 0 {
				t.Errorf("got %d bytes, %v; %d slots are taken", w.Body.Len(), err, b.Taken())
			}
		})
	}
}
