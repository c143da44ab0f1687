// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A response that is kept is the one that a client gets without keeping it: status, header, length,
// body and trailer, announced or not.
func TestKeptResponseIsTheSame(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"JSON": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "3")
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, `{"error":"busy"}`)
		},
		"gzip": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.WriteHeader(http.StatusBadGateway)
			w.Write([]byte{0x1f, 0x8b, 8, 0, 0})
		},
		"nothing": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"304":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) },
		"trailer": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "Announced")
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, "body")
			w.Header().Set("Announced", "1")
			w.Header().Set(http.TrailerPrefix+"Unannounced", "2")
		},
		"large": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
			w.Write(bytes.Repeat([]byte("0123456789"), keptResponse/5))
		},
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			for _, http2 := range []bool{false, true} {
				t.Run(fmt.Sprint(name, " ", method, " HTTP/2 ", http2), func(t *testing.T) {
					server := httptest.NewUnstartedServer(handler)
					server.EnableHTTP2 = http2
					server.StartTLS()
					defer server.Close()
					get := func() *http.Response {
						req, err := http.NewRequest(method, server.URL, nil)
						if err != nil {
							t.Fatal(err)
						}
						req.Header.Set("Accept-Encoding", "identity")
						res, err := server.Client().Do(req)
						if err != nil {
							t.Fatal(err)
						}
						return res
					}
					res := KeepResponse(get()).Whole()
					announced := describeTrailer(res)
					body, err := io.ReadAll(res.Body)
					if err := errors.Join(err, res.Body.Close()); err != nil {
						t.Fatal(err)
					}
					want := get()
					if a := describeTrailer(want); a != announced {
						t.Errorf("before the body, the trailer is %s, want %s", announced, a)
					}
					wanted, err := io.ReadAll(want.Body)
					if err := errors.Join(err, want.Body.Close()); err != nil {
						t.Fatal(err)
					}
					res.Header.Del("Date")
					want.Header.Del("Date")
					if !bytes.Equal(body, wanted) || res.StatusCode != want.StatusCode || res.ContentLength != want.ContentLength ||
						fmt.Sprint(res.Header) != fmt.Sprint(want.Header) || describeTrailer(res) != describeTrailer(want) {
						t.Errorf("got %d, %v, %d bytes, %d, %v; want %d, %v, %d bytes, %d, %v",
							res.StatusCode, res.Header, len(body), res.ContentLength, res.Trailer, want.StatusCode, want.Header, len(wanted), want.ContentLength, want.Trailer)
					}
				})
			}
		}
	}
}

func describeTrailer(res *http.Response) string { return fmt.Sprint(maps.Clone(res.Trailer)) }

// parts is a body that comes in parts, one a second, and ends like err.
type parts struct {
	list   []string
	err    error
	closed chan struct{}
}

func (b *parts) Read(p []byte) (int, error) {
	select {
	case <-b.closed:
		return 0, errClosed
	case <-time.After(time.Second):
	}
	if len(b.list) == 0 {
		return 0, b.err
	}
	n := copy(p, b.list[0])
	b.list = b.list[1:]
	return n, nil
}

func (b *parts) Close() error {
	select {
	case <-b.closed:
	default:
		close(b.closed)
	}
	return nil
}

// A body that comes slowly is passed on as it comes.
func TestKeptResponseStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		broken := errors.New("broken")
		r := KeepResponse(&http.Response{Body: &parts{[]string{"a", "b", "c"}, broken, make(chan struct{})}})
		time.Sleep(1500 * time.Millisecond)
		buf := make([]byte, 10)
		for i, want := range []string{"a", "b", "c"} {
			n, err := r.Read(buf)
			at := max(1500*time.Millisecond, time.Duration(i+1)*time.Second)
			if string(buf[:n]) != want || err != nil || time.Since(began) != at {
				t.Fatalf("read %q, %v after %v, want %q after %v", buf[:n], err, time.Since(began), want, at)
			}
		}
		if n, err := r.Read(buf); n != 0 || err != broken {
			t.Errorf("at the end: %d bytes, %v", n, err)
		}
	})
}

// A discarded response is read to its end if that comes soon, and closed within a second.
func TestDiscardedResponse(t *testing.T) {
	for soon, list := range map[bool][]string{true: nil, false: strings.Split(strings.Repeat("x", 60), "")} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			body := &parts{list, io.EOF, make(chan struct{})}
			r := KeepResponse(&http.Response{Body: body})
			time.Sleep(500 * time.Millisecond)
			r.Discard()
			<-body.closed
			want := 1500 * time.Millisecond
			if soon {
				want = time.Second
			}
			if took := time.Since(began); took != want {
				t.Errorf("a body that ends soon (%v) is closed after %v, want %v", soon, took, want)
			}
		})
	}
}

// brokenClose is a body that panics when it is closed.
type brokenClose struct{ parts }

func (b *brokenClose) Close() error {
	_ = b.parts.Close()
	panic("broken")
}

// A transport whose response panics when it is closed does not end the process.
func TestDiscardedResponsePanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := &brokenClose{parts{strings.Split(strings.Repeat("x", 60), ""), io.EOF, make(chan struct{})}}
		r := KeepResponse(&http.Response{Body: body})
		r.Discard()
		<-body.closed
		time.Sleep(time.Second)
	})
}
