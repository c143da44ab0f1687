// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook"
)

func init() { caddy.RegisterModule(new(scripted)) }

// scripted is a transport that answers as the test says: see [script].
type scripted struct {
	answer func(*http.Request) *http.Response
}

var script func(*http.Request) *http.Response

func (*scripted) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.transport.scripted", New: func() caddy.Module { return &scripted{script} }}
}

func (s *scripted) RoundTrip(req *http.Request) (*http.Response, error) {
	res := s.answer(req)
	res.Proto, res.ProtoMajor, res.ProtoMinor, res.Request = "HTTP/1.1", 1, 1, req
	if res.Header == nil {
		res.Header = make(http.Header)
	}
	return res, nil
}

// answering returns a proxy with a pool of one backend, which answers as it is told.
func answering(t *testing.T, limit int, more string, answer func(*http.Request) *http.Response) (*lbtest.Proxy, *backend.Backend) {
	t.Helper()
	script = answer
	const name = "scripted"
	p, err := lbtest.Load(t, caddy.ModuleMap{"ballast": []byte(`{"pools":{"` + name + `":{"backends":[{"dial":"a:1","max_requests":` + strconv.Itoa(limit) + `}]}}}`)},
		`{"transport":{"protocol":"scripted"},"dynamic_upstreams":{"source":"pool","name":"`+name+`"}`+more+`}`, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p, pool.Current(name).Find("a:1")
}

// late is a body after which the trailer comes.
type late struct{ res *http.Response }

func (l *late) Read([]byte) (int, error) {
	l.res.Trailer = http.Header{"Grpc-Status": {"14"}}
	return 0, io.EOF
}

func (l *late) Close() error { return nil }

// What a response is, is told when its header comes: until the trailer does, Caddy
// changes the header, on another goroutine even if the body is read ahead.
func TestResponseIsKnownByTheHeaderThatCame(t *testing.T) {
	p, b := answering(t, 0, `,"headers":{"response":{"set":{"Content-Type":["text/plain"]}}}`, func(*http.Request) *http.Response {
		res := &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/grpc"}}}
		res.Body = &late{res}
		return res
	})
	if _, err := p.Do(httptest.NewRequest(http.MethodGet, "http://x/", nil)); err != nil {
		t.Fatal(err)
	}
	if _, bad := b.Outcomes(); bad != 1 {
		t.Errorf("%d errors, want 1: the call has failed by its trailer", bad)
	}
}

// A transport may replace placeholders while it dials, on a goroutine that may
// outlive the attempt. For the race detector.
func TestPlaceholdersAreReadFromAnyGoroutine(t *testing.T) {
	var wg sync.WaitGroup
	defer wg.Wait()
	p, _ := answering(t, 0, `,"load_balancing":{"retries":20}`, func(req *http.Request) *http.Response {
		repl := req.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
		wg.Go(func() {
			for range 100 {
				repl.GetString("http.ballast.backend")
				repl.GetString("http.ballast.reason")
			}
		})
		return &http.Response{StatusCode: 200, Body: http.NoBody}
	})
	repl, w := caddy.NewReplacer(), httptest.NewRecorder()
	req := lbtest.Prepare(httptest.NewRequest(http.MethodGet, "http://x/", nil), repl, w)
	for range 20 { // as a forward_auth before the proxy does
		if err := p.ServeHTTP(w, req, nil); err != nil {
			t.Fatal(err)
		}
		proxyhook.Refuse(req, nil, nil, "again")
		caddyhttp.SetVar(req.Context(), "x", "y")
	}
}

// broken is a body that panics, when it is read or when it is closed.
type broken struct{ inClose bool }

func (b broken) Read(p []byte) (int, error) {
	if b.inClose {
		return copy(p, "x"), nil
	}
	panic("in Read")
}

func (b broken) Close() error {
	if b.inClose {
		panic("in Close")
	}
	return nil
}

// fragile is a client's connection that panics in one of its methods.
type fragile struct {
	*httptest.ResponseRecorder
	in string
}

func (f fragile) WriteHeader(status int) {
	if f.in == "WriteHeader" {
		panic(f.in)
	}
	f.ResponseRecorder.WriteHeader(status)
}

func (f fragile) Write(p []byte) (int, error) {
	if f.in == "Write" {
		panic(f.in)
	}
	return f.ResponseRecorder.Write(p)
}

// Whatever panics, and whether or not there is a limit, nothing stays in flight: not
// for the limit, nor in metrics, nor for policies.
func TestNothingStaysInFlightAfterPanics(t *testing.T) {
	text := func(*http.Request) *http.Response {
		return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader("text")), ContentLength: 4}
	}
	for name, tt := range map[string]struct {
		answer func(*http.Request) *http.Response
		in     string
	}{
		"the transport": {func(*http.Request) *http.Response { panic("in RoundTrip") }, ""},
		"reading the body": {func(*http.Request) *http.Response {
			return &http.Response{StatusCode: 200, Body: broken{}, ContentLength: 4}
		}, ""},
		"closing the body": {func(*http.Request) *http.Response {
			return &http.Response{StatusCode: 200, Body: broken{inClose: true}, ContentLength: 4}
		}, "Write"},
		"the client's header": {text, "WriteHeader"},
		"the client's body":   {text, "Write"},
	} {
		for limit := range 2 {
			t.Run(name+"/limit "+strconv.Itoa(limit), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p, b := answering(t, limit, "", tt.answer)
					for n := range 3 {
						ctx, cancel := context.WithCancel(t.Context())
						w := fragile{httptest.NewRecorder(), tt.in}
						req := lbtest.Prepare(httptest.NewRequestWithContext(ctx, http.MethodGet, "http://x/", nil), caddy.NewReplacer(), w)
						func() {
							defer func() {
								if recover() == nil {
									t.Error("the panic is lost")
								}
							}()
							if err := p.ServeHTTP(w, req, nil); err != nil {
								t.Errorf("request %d: %v", n, err)
							}
						}()
						cancel() // as Caddy's server does when a handler has panicked
						synctest.Wait()
						if b.InFlight() != 0 || b.Taken() != 0 || b.Totals().InFlight != 0 || pool.Current(b.Pool).InFlight() != 0 || b.Totals().Requests != int64(n+1) {
							t.Fatalf("after %d: %d in flight, %d slots taken, %d in metrics, %d in the pool", n+1, b.InFlight(), b.Taken(), b.Totals().InFlight, pool.Current(b.Pool).InFlight())
						}
					}
				})
			})
		}
	}
}

// What is in flight is the same for limits, metrics, policies and the admin API, also
// where a policy of Caddy's chooses.
func TestInFlightIsOneCount(t *testing.T) {
	for _, policy := range []string{"p2c", "round_robin"} {
		var b *backend.Backend
		count := func() [3]int64 {
			return [3]int64{int64(b.InFlight()), b.Totals().InFlight, pool.Current(b.Pool).InFlight()}
		}
		var sent [3]int64
		p, of := answering(t, 0, `,"load_balancing":{"selection_policy":{"policy":"`+policy+`"}}`, func(*http.Request) *http.Response {
			sent = count()
			return &http.Response{StatusCode: 200, Body: http.NoBody}
		})
		b = of
		if _, err := p.Do(httptest.NewRequest(http.MethodGet, "http://x/", nil)); err != nil {
			t.Fatal(err)
		}
		if sent != [3]int64{1, 1, 1} || count() != [3]int64{} {
			t.Errorf("%s: in flight are %v, and then %v", policy, sent, count())
		}
		p.Close()
	}
}
