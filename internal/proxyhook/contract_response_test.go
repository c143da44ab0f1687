// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// watchedBody is a body that tells what is done with it.
type watchedBody struct {
	io.Reader
	read   int
	closed bool
	onRead func() // before each; may be nil
}

func (b *watchedBody) Read(p []byte) (int, error) {
	if b.onRead != nil {
		b.onRead()
	}
	n, err := b.Reader.Read(p)
	b.read += n
	return n, err
}

func (b *watchedBody) Close() error { b.closed = true; return nil }

// The body of a response that goes to routes is open until they have ended, and so is the
// request of its upstream. None but copy_response reads it.
func TestCaddyContractResponseRoutes(t *testing.T) {
	for name, handlers := range map[string]string{
		"none": `{"handler":"vars"}`, "header": `{"handler":"copy_response_headers"}`, "body": `{"handler":"copy_response"}`,
	} {
		body := &watchedBody{Reader: strings.NewReader("text")}
		p := host(t, behavior{roundTrip: func(req *http.Request) (*http.Response, error) {
			return answer(req, body), nil
		}}, withTransport+`,"upstreams":[{"dial":"a:1"}],"handle_response":[{"routes":[{"handle":[`+handlers+`]}]}]`)
		ran := false
		r := lbtest.Serve(p.Handler, httptest.NewRequest(http.MethodGet, "http://x/", nil), caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
			ran = true
			if body.closed || body.read != 0 || p.Upstreams[0].NumRequests() != 1 {
				t.Errorf("%s: while the routes run, read %d, closed %v, in flight %d", name, body.read, body.closed, p.Upstreams[0].NumRequests())
			}
			return nil
		}))
		whole := name == "body"
		if r.Err != nil || ran == whole || !body.closed || (r.Body.String() == "text") != whole || (body.read == 4) != whole || p.Upstreams[0].NumRequests() != 0 {
			t.Errorf("%s: the next handler ran: %v; read %d, closed %v, in flight %d, %v", name, ran, body.read, body.closed, p.Upstreams[0].NumRequests(), r.Err)
		}
	}
}

// Caddy changes the header of a response in place, before it reads the body: it removes the
// fields of the connection and applies the operations that are configured, and no more.
func TestCaddyContractResponseHeaderIsWritten(t *testing.T) {
	var header http.Header
	want := http.Header{"Content-Type": {"text/plain"}, "X-Kept": {"1"}}
	body := &watchedBody{Reader: strings.NewReader("text"), onRead: func() {
		if !reflect.DeepEqual(header, want) {
			t.Errorf("when the body is read, the header is %v, want %v", header, want)
		}
	}}
	p := host(t, behavior{roundTrip: func(req *http.Request) (*http.Response, error) {
		res := answer(req, body)
		header = res.Header
		for _, field := range []string{"Content-Type", "X-Kept", "Keep-Alive", "X-Removed"} {
			header.Set(field, "1")
		}
		return res, nil
	}}, withTransport+`,"upstreams":[{"dial":"a:1"}],"headers":{"response":{"set":{"Content-Type":["text/plain"]},"delete":["X-Removed"]}}`)
	if w, err := p.Do(httptest.NewRequest(http.MethodGet, "http://x/", nil)); err != nil || w.Body.String() != "text" || !reflect.DeepEqual(header, want) {
		t.Errorf("%q, %v; in the end the header is %v", w.Body, err, header)
	}
}

// The trailer is read once the body is closed, and may come with the end of the body.
func TestCaddyContractTrailer(t *testing.T) {
	p := host(t, behavior{roundTrip: func(req *http.Request) (*http.Response, error) {
		res := answer(req, nil)
		res.Body = &late{res}
		return res, nil
	}}, withTransport+`,"upstreams":[{"dial":"a:1"}]`)
	w, err := p.Do(httptest.NewRequest(http.MethodGet, "http://x/", nil))
	if got := w.Result().Trailer.Get("Grpc-Status"); err != nil || got != "14" {
		t.Errorf("the client gets %q, %v", got, err)
	}
}

// Nobody closes the body of a response whose handling panics, so that only the end of the
// request's context tells that it is over. The upstream's own count is right all the same.
func TestCaddyContractPanicsLeaveBodiesOpen(t *testing.T) {
	for _, in := range []string{"WriteHeader", "Write"} {
		body := &watchedBody{Reader: strings.NewReader("text")}
		p := host(t, behavior{roundTrip: func(req *http.Request) (*http.Response, error) {
			return answer(req, body), nil
		}}, withTransport+`,"upstreams":[{"dial":"a:1"}]`)
		w := fragile{httptest.NewRecorder(), in}
		func() {
			defer func() {
				if got := recover(); got != any(in) {
					t.Errorf("%s: the panic is %v", in, got)
				}
			}()
			_ = p.ServeHTTP(w, lbtest.Prepare(httptest.NewRequest(http.MethodGet, "http://x/", nil), caddy.NewReplacer(), w), nil)
		}()
		if body.closed || p.Upstreams[0].NumRequests() != 0 {
			t.Errorf("%s: closed %v, in flight %d", in, body.closed, p.Upstreams[0].NumRequests())
		}
	}
}

// A body that breaks off ends in the panic with which net/http aborts a response.
func TestCaddyContractBrokenBodiesAbort(t *testing.T) {
	body := &watchedBody{Reader: io.MultiReader(strings.NewReader("te"), iotest.ErrReader(errBroken))}
	p := host(t, behavior{roundTrip: func(req *http.Request) (*http.Response, error) {
		return answer(req, body), nil
	}}, withTransport+`,"upstreams":[{"dial":"a:1"}]`)
	defer func() {
		if got := recover(); got != any(http.ErrAbortHandler) || !body.closed {
			t.Errorf("the panic is %v; closed %v", got, body.closed)
		}
	}()
	_, err := p.Get()
	t.Errorf("no panic, and %v", err)
}
