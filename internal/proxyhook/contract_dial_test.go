// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"testing"

	"github.com/pires/go-proxyproto"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/backendconn"
)

// Caddy's transport dials by functions in exported fields, with TLS and the PROXY protocol inside
// of them or not. HTTP/2 goes on as before.
func TestCaddyContractDialFunctions(t *testing.T) {
	for _, test := range []struct {
		name, transport, version string
		tls, proxyProtocol       bool
		watched                  bool
	}{
		{"HTTP/1.1", `"versions":["1.1"]`, "HTTP/1.1", false, false, true},
		{"with timeouts", `"read_timeout":"5s","write_timeout":"5s"`, "HTTP/1.1", false, false, true},
		{"PROXY protocol", `"proxy_protocol":"v1"`, "HTTP/1.1", false, true, true},
		{"TLS", `"versions":["1.1"],"tls":{"insecure_skip_verify":true}`, "HTTP/1.1", true, false, true},
		{"TLS and the PROXY protocol", `"versions":["1.1"],"proxy_protocol":"v2","tls":{"insecure_skip_verify":true}`, "HTTP/1.1", true, true, true},
		{"HTTP/2", `"tls":{"insecure_skip_verify":true}`, "HTTP/2.0", true, false, false},
		{"HTTP/2 and the PROXY protocol", `"proxy_protocol":"v1","tls":{"insecure_skip_verify":true}`, "HTTP/2.0", true, true, false},
		{"HTTP/2 without TLS", `"versions":["h2c","2"]`, "HTTP/2.0", false, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Version", r.Proto)
			}))
			s.EnableHTTP2 = true
			s.Config.Protocols = new(http.Protocols)
			s.Config.Protocols.SetHTTP1(true)
			s.Config.Protocols.SetHTTP2(true)
			s.Config.Protocols.SetUnencryptedHTTP2(true)
			if test.proxyProtocol {
				s.Listener = &proxyproto.Listener{Listener: s.Listener}
			}
			if test.tls {
				s.StartTLS()
			} else {
				s.Start()
			}
			defer s.Close()
			address := s.Listener.Addr().String()
			p := lbtest.NewProxy(t, fmt.Sprintf(`{"transport":{"protocol":"http",%s},"load_balancing":{"selection_policy":{"policy":"attachtest"}},"upstreams":[{"dial":%q}]}`, test.transport, address), nil)
			policyOf(p).backends[address] = backend.New("", backend.Endpoint{Address: address, Settings: backend.Settings{ID: address, Weight: new(1)}}, backend.NewState(), nil, nil)
			for i := range 3 {
				var got httptrace.GotConnInfo
				req := httptest.NewRequest(http.MethodPost, "http://x/", strings.NewReader("body"))
				w, err := p.Do(req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
					GotConn: func(info httptrace.GotConnInfo) { got = info },
				})))
				if err != nil {
					t.Fatal(err)
				}
				if version := w.Header().Get("Version"); version != test.version {
					t.Errorf("sent by %s", version)
				}
				if watched := backendconn.Of(got.Conn) != nil; watched != test.watched {
					t.Errorf("watched: %v, want %v; the connection is a %T", watched, test.watched, got.Conn)
				}
				if got.Reused != (i > 0) {
					t.Errorf("request %d: reused %v", i, got.Reused)
				}
			}
		})
	}
}
