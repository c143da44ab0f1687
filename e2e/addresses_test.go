// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// TestUnixSocket has backends at unix sockets, probed and lost.
func TestUnixSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "ballast-") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	testTwo(t, startBackend(t, filepath.Join(dir, "one")), startBackend(t, filepath.Join(dir, "two")), "unix/")
}

// TestIPv6 has backends at addresses of IPv6.
func TestIPv6(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("this system has no IPv6:", err)
	}
	l.Close()
	address := func() string { return fmt.Sprintf("[::1]:%d", freePort(t)) }
	testTwo(t, startBackend(t, address()), startBackend(t, address()), "")
}

// testTwo has traffic on two backends, then on the one that is left.
func testTwo(t *testing.T, one, two *backend, network string) {
	port := freePort(t)
	c := startCaddy(t, "", fmt.Sprintf(`
		:%d {
			bind 127.0.0.1
			reverse_proxy {
				dynamic pool {
					to %s %s
					health http /health {
						interval 200ms
						fails 2
					}
					health tcp {
						interval 200ms
						fails 2
					}
				}
				lb_policy wrr
				lb_retries 2
			}
		}`, port, network+one.address, network+two.address))
	l := startLoad(t, fmt.Sprintf("http://127.0.0.1:%d/", port), 100, 0)
	eventually(t, "both backends answer", func() bool { return len(l.counts()) == 2 })
	l.more(100) // probes run meanwhile
	if n := c.log.count("backend is down", nil); n != 0 {
		t.Error("a backend that works is down")
	}
	one.kill()
	eventually(t, "the backend is down", func() bool { return c.downs(network+one.address) == 1 })
	l.more(100)
	l.stop()
	l.mustNotFail()
}

// TestTLSBackends has backends with TLS: with a certificate that nobody
// vouches for, and verified with their authority's.
func TestTLSBackends(t *testing.T) {
	var mu sync.Mutex
	hosts := make(map[string]string) // the last Host by path
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		hosts[r.URL.Path] = r.Host
		io.WriteString(w, "secret")
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes are meant to fail
	server.StartTLS()
	t.Cleanup(server.Close)
	address := server.Listener.Addr().String()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(ca, text, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, transport, check string }{
		{"not verified", "tls_insecure_skip_verify", "insecure_skip_verify"},
		{"verified", "tls_trust_pool file " + ca, "ca " + ca},
	} {
		t.Run(test.name, func(t *testing.T) {
			port := freePort(t)
			c := startCaddy(t, "", fmt.Sprintf(`
				:%d {
					bind 127.0.0.1
					reverse_proxy {
						dynamic pool {
							to https://%s
							health http /health {
								initial down
								interval 200ms
								tls {
									%s
								}
							}
						}
						transport http {
							%s
						}
					}
				}`, port, address, test.check, test.transport))
			eventually(t, "the probe passes", func() bool { return c.ups(address) == 1 })
			if status, body := get(t, port); status != http.StatusOK || body != "secret" {
				t.Errorf("got status %d, %q", status, body)
			}
			mu.Lock()
			defer mu.Unlock()
			if hosts["/"] != address || hosts["/health"] != address {
				t.Errorf("hosts by path are %v, want %s", hosts, address)
			}
		})
	}
	t.Run("refused", func(t *testing.T) {
		c := startCaddy(t, "", fmt.Sprintf(":%d {\nbind 127.0.0.1\nreverse_proxy {\ndynamic pool {\nto https://%s\nhealth http {\ninterval 200ms\n}\n}\n}\n}",
			freePort(t), address))
		eventually(t, "a certificate that is not trusted fails the probe", func() bool { return c.downs(address) == 1 })
	})
}
