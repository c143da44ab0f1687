// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// kinds are the two kinds of proxy that everything must pass alike, with what
// gives each its backends.
var kinds = []struct{ name, to string }{
	{"plain", "to %s"},
	{"pool", "dynamic pool web {\nto %s\nhealth tcp\n}"},
}

// route is one way of clients to backends.
type route struct {
	name     string
	url      string
	client   *http.Client
	upstream string // the protocol that the backends see
}

// TestProtocols sends all that HTTP can do through both kinds of proxy.
func TestProtocols(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			s, addresses := newServices(t)
			cleartext, secure, h2c := freePort(t), freePort(t), freePort(t)
			to := fmt.Sprintf(kind.to, strings.Join(addresses, " "))
			toH2C := fmt.Sprintf(kind.to, "h2c://"+strings.Join(addresses, " h2c://"))
			c := startCaddy(t, "servers {\nprotocols h1 h2 h2c\n}", fmt.Sprintf(`
				:%d {
					bind 127.0.0.1
					reverse_proxy {
						%s
					}
				}
				https://localhost:%d {
					bind 127.0.0.1
					reverse_proxy {
						%s
					}
				}
				:%d {
					bind 127.0.0.1
					reverse_proxy {
						%s
					}
				}`, cleartext, to, secure, strings.Replace(to, "web", "secure", 1), h2c, strings.Replace(toH2C, "web", "h2c", 1)))
			routes := []route{
				{"HTTP1", fmt.Sprintf("http://127.0.0.1:%d", cleartext), newClient(t, false), "HTTP/1.1"},
				{"HTTP2", fmt.Sprintf("https://localhost:%d", secure), newClient(t, true), "HTTP/1.1"},
				{"H2C", fmt.Sprintf("http://127.0.0.1:%d", h2c), newClient(t, true), "HTTP/2.0"},
			}
			for _, r := range routes {
				t.Run(r.name, func(t *testing.T) {
					t.Run("protocol", r.testProtocol)
					t.Run("body", r.testBody)
					t.Run("trailers", r.testTrailers)
					t.Run("events", func(t *testing.T) { r.testEvents(t, s) })
					t.Run("client gone", func(t *testing.T) { r.testClientGone(t, s) })
				})
				r.client.CloseIdleConnections()
			}
			t.Run("websocket", func(t *testing.T) { testWebSocket(t, c, s, cleartext, kind.name == "pool") })
			c.quiet()
		})
	}
}

// newClient returns a client of HTTP/1.1 alone or HTTP/2 alone.
func newClient(t *testing.T, http2 bool) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!http2)
	protocols.SetHTTP2(http2)
	protocols.SetUnencryptedHTTP2(http2)
	transport := &http.Transport{Protocols: protocols, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 3 * soon}
}

// do sends a request and fails the test if it is not answered well.
func (r route) do(ctx context.Context, t *testing.T, path string, body io.Reader) *http.Response {
	t.Helper()
	method := http.MethodGet
	if body != nil {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(ctx, method, r.url+path, body)
	if err != nil {
		t.Fatal(err)
	}
	res, err := r.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s: status %d", path, res.StatusCode)
	}
	return res
}

func read(t *testing.T, res *http.Response) []byte {
	t.Helper()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func (r route) testProtocol(t *testing.T) {
	eventually(t, "the site has its certificate", func() bool {
		res, err := r.client.Get(r.url + "/proto")
		if err == nil {
			res.Body.Close()
		}
		return err == nil
	})
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			res, err := r.client.Get(r.url + "/proto")
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			seen, err := io.ReadAll(res.Body)
			want := 2
			if r.name == "HTTP1" {
				want = 1
			}
			if err != nil || string(seen) != r.upstream || res.ProtoMajor != want {
				t.Errorf("client speaks HTTP/%d and backend %q, want HTTP/%d and %q (%v)", res.ProtoMajor, seen, want, r.upstream, err)
			}
		})
	}
	wg.Wait()
}

func (r route) testBody(t *testing.T) {
	sent := make([]byte, 1<<20)
	rand.Read(sent)
	for name, body := range map[string]io.Reader{
		"with length": bytes.NewReader(sent),
		"chunked":     io.MultiReader(bytes.NewReader(sent)),
	} {
		if got := read(t, r.do(t.Context(), t, "/echo", body)); !bytes.Equal(got, sent) {
			t.Errorf("%s: %d bytes came back of %d, or others", name, len(got), len(sent))
		}
	}
}

func (r route) testTrailers(t *testing.T) {
	res := r.do(t.Context(), t, "/trailers", nil)
	if got := len(read(t, res)); got != 5000 {
		t.Errorf("the body has %d bytes, want 5000", got)
	}
	if got := res.Trailer.Get("X-Announced") + " " + res.Trailer.Get("X-Late"); got != "one two" {
		t.Errorf("trailers are %v", res.Trailer)
	}
}

// testEvents reads each event before the backend may send the next.
func (r route) testEvents(t *testing.T, s *services) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	res := r.do(ctx, t, "/events", nil)
	lines := bufio.NewReader(res.Body)
	for range 3 {
		select {
		case s.step <- struct{}{}:
		case <-time.After(soon):
			t.Fatal("the backend takes no step")
		}
		if line, err := lines.ReadString('\n'); err != nil || line != "data: event\n" {
			t.Fatalf("got %q, %v", line, err)
		}
		if _, err := lines.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	wait(t, "the backend notices that the client is gone", s.gone)
}
