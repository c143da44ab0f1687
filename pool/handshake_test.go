// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

func init() { caddy.RegisterModule(new(silentTransport)) }

// silentTransport is Caddy's `http` to backends that accept connections and say nothing.
type silentTransport struct{ reverseproxy.HTTPTransport }

// silent is the number of open connections of the latest silentTransport.
var silent *atomic.Int32

func (*silentTransport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.transport.silent", New: func() caddy.Module { return new(silentTransport) }}
}

func (s *silentTransport) Provision(ctx caddy.Context) error {
	if err := s.HTTPTransport.Provision(ctx); err != nil {
		return err
	}
	open := new(atomic.Int32)
	silent = open
	s.Transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		open.Add(1)
		go func() {
			_, _ = io.Copy(io.Discard, theirs)
			open.Add(-1)
		}()
		return ours, nil
	}
	return nil
}

// A TLS handshake that gets no answer ends, though its request has ended long before: that of a client,
// of an attempt, and of a copy.
func TestHandshakesEnd(t *testing.T) {
	for name, tt := range map[string]struct {
		config string
		open   int32 // after 4s
	}{
		"as the address says":    {`{"transport":{"protocol":"silent"}`, 1},
		"as the transport says":  {`{"transport":{"protocol":"silent","tls":{"insecure_skip_verify":true}}`, 1},
		"with its own timeout":   {`{"transport":{"protocol":"silent","tls":{"handshake_timeout":"2s"}}`, 0},
		"with a longer one":      {`{"transport":{"protocol":"silent","tls":{"handshake_timeout":"9s"}}`, 1},
		"of a copy and attempts": {`{"transport":{"protocol":"silent"}`, 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				newWorld(t)
				pool := dials("https://a:1")
				if tt.open == 3 {
					pool = dials("https://a:1", "https://b:1") + `,"retry":{"tries":1,"on":["timeout"],"timeout":"100ms"},"mirror":{"ratio":1,"to":["https://c:1"],"timeout":"100ms"}`
				}
				p, err := lbtest.Load(t, nil, tt.config+`,"dynamic_upstreams":{"source":"pool",`+pool+`}}`, nil)
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if _, err := p.Do(httptest.NewRequestWithContext(ctx, http.MethodGet, "http://x/", nil)); err == nil {
					t.Error("a silent backend has answered")
				}
				time.Sleep(3 * time.Second)
				if synctest.Wait(); silent.Load() != tt.open {
					t.Errorf("%d connections are open in the handshake, want %d", silent.Load(), tt.open)
				}
				time.Sleep(8 * time.Second)
				if synctest.Wait(); silent.Load() != 0 {
					t.Errorf("%d connections stay open", silent.Load())
				}
				p.Close()
			})
		})
	}
	lbtest.NoLeaks(t)
}

// After a handshake that took too long, be it for the transport or for the attempt, nothing was sent. So any request
// may be sent again, and the next attempt on the backend dials its next address.
func TestRetryAfterHandshakeTimeout(t *testing.T) {
	for name, tt := range map[string]struct {
		transport, retry string
	}{
		"of the transport": {transport: `,"tls":{"handshake_timeout":"1s"}`},
		"of the attempt":   {`,"tls":{}`, `,"timeout":"1s"`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				newWorld(t)
				p, err := lbtest.Load(t, nil, `{"transport":{"protocol":"silent"`+tt.transport+`},"load_balancing":{"selection_policy":{"policy":"wrr"}},`+
					`"dynamic_upstreams":{"source":"pool","name":"web",`+dials("a:1", "b:1")+`,"retry":{"tries":1,"on":["connect"],"backoff":"1ms"`+tt.retry+`}}}`, nil)
				if err != nil {
					t.Fatal(err)
				}
				b := member(t, "a:1")
				b.Resolve([]string{"192.0.2.1", "192.0.2.2"})
				r := p.Serve(httptest.NewRequest(http.MethodPost, "http://x/", strings.NewReader("x")))
				if got := r.Placeholder("attempts"); strings.Count(got, ":timeout:1s") != 2 || r.Status != http.StatusGatewayTimeout {
					t.Errorf("%d, attempts %q, want two", r.Status, got)
				}
				if tt.retry != "" && b.IP() != "192.0.2.2" {
					t.Errorf("%s is dialed next", b.IP())
				}
			})
		})
	}
}
