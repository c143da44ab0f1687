// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// seen is one request as a server got it.
type seen struct {
	body    string // its SHA-256
	length  int64
	sum     string // the trailer Sum
	method  string
	host    string
	marked  bool
	encoded []string
}

// book records what a server got.
type book struct {
	mu  sync.Mutex
	all []seen
}

// ServeHTTP reads the body, and answers with its hash.
func (b *book) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "" {
		conn, buf, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_, _ = io.Copy(conn, buf)
		return
	}
	w.Header().Set("Link", "</style.css>")
	w.WriteHeader(http.StatusEarlyHints)
	hash := sha256.New()
	_, err := io.Copy(hash, r.Body)
	if err != nil {
		return
	}
	s := seen{fmt.Sprintf("%x", hash.Sum(nil)), r.ContentLength, r.Trailer.Get("Sum"), r.Method, r.Host, r.Header.Get("X-Ballast-Mirror") != "", r.TransferEncoding}
	b.mu.Lock()
	b.all = append(b.all, s)
	b.mu.Unlock()
	_, _ = io.WriteString(w, s.body)
}

func (b *book) list() []seen {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.all)
}

// front returns the URL of a server with a proxy of the given configuration.
func front(t *testing.T, config string) (*lbtest.Proxy, string) {
	t.Helper()
	p, err := lbtest.Load(t, nil, config, nil)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := p.Handler.ServeHTTP(w, lbtest.Prepare(r, caddy.NewReplacer(), w), nil); err != nil {
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	t.Cleanup(server.Close)
	return p, server.URL
}

// misbehaving listens, and does something else than HTTP with each connection.
func misbehaving(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = bufio.NewReader(conn).ReadString('\n')
				serve(conn)
			}()
		}
	}()
	return l.Addr().String()
}

func ended(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

// Whatever a mirror does on its connections, each request gets its answer and each backend each byte,
// and the copies end with the configuration.
func TestMirrorsThatMisbehave(t *testing.T) {
	flood := bytes.Repeat([]byte("x"), 32<<10)
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	for name, shadow := range map[string]string{
		"gone":   gone.Addr().String(),
		"hangs":  misbehaving(t, ended),
		"resets": misbehaving(t, func(conn net.Conn) { _ = conn.(*net.TCPConn).SetLinger(0) }),
		"floods": misbehaving(t, func(conn net.Conn) {
			_, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
			for err == nil {
				_, err = conn.Write(flood)
			}
		}),
		"floods the header": misbehaving(t, func(conn net.Conn) {
			_, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\n")
			for n := 0; err == nil; n++ {
				_, err = fmt.Fprintf(conn, "X-%d: %s\r\n", n, flood[:1000])
			}
		}),
		"floods 1xx": misbehaving(t, func(conn net.Conn) {
			var err error
			for err == nil {
				_, err = io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
			}
		}),
		"stops in an answer": misbehaving(t, func(conn net.Conn) {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx")
			ended(conn)
		}),
		"switches protocols": misbehaving(t, func(conn net.Conn) {
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
			ended(conn)
		}),
		"is no HTTP": misbehaving(t, func(conn net.Conn) { _, _ = conn.Write(flood) }),
	} {
		t.Run(name, func(t *testing.T) {
			main := new(book)
			server := httptest.NewServer(main)
			t.Cleanup(server.Close)
			p, url := front(t, `{"dynamic_upstreams":{"source":"pool",`+dials(server.Listener.Addr().String())+`,"mirror":{"ratio":1,"to":["`+shadow+`"],"methods":["GET","POST"],"max_in_flight":5,"timeout":"1h"}}}`)
			large := bytes.Repeat([]byte("0123456789"), 1<<20)
			for _, body := range [][]byte{nil, []byte("hello"), large, nil, []byte("hello")} {
				res, err := http.Post(url, "text/plain", bytes.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(res.Body)
				res.Body.Close()
				if want := fmt.Sprintf("%x", sha256.Sum256(body)); err != nil || string(got) != want {
					t.Errorf("the answer to %d bytes is %q, want %s; %v", len(body), got, want, err)
				}
			}
			start := time.Now()
			p.Close()
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("the end of the configuration took %v", took)
			}
			if n := p.Metric(t, "caddy_ballast_mirror_in_flight"); n != 0 {
				t.Errorf("%v copies are in flight at the end", n)
			}
		})
	}
	lbtest.NoLeaks(t)
}

// Copies have what backends get: bodies of 10 MB, of unknown length and none, and trailers; upgrades
// have none, and go on.
func TestMirrorOverHTTP(t *testing.T) {
	main, shadow := new(book), new(book)
	server, mirror := httptest.NewServer(main), httptest.NewServer(shadow)
	t.Cleanup(server.Close)
	t.Cleanup(mirror.Close)
	p, url := front(t, `{"dynamic_upstreams":{"source":"pool",`+dials(server.Listener.Addr().String())+`,"mirror":{"ratio":1,"to":["`+mirror.Listener.Addr().String()+`"],"methods":["GET","HEAD","POST"],"body":16000000}}}`)
	large := strings.Repeat("0123456789", 1<<20)
	for n, tt := range []struct {
		method, body string
		unknown      bool
		trailer      string
	}{{"GET", "", false, ""}, {"HEAD", "", false, ""}, {"POST", "", false, ""}, {"POST", "hello", false, ""}, {"POST", "hello", true, ""}, {"POST", "", true, ""}, {"POST", "hello", true, "x"}, {"POST", large, false, ""}, {"POST", large, true, "y"}} {
		var body io.Reader
		if tt.body != "" || tt.unknown {
			body = strings.NewReader(tt.body)
		}
		if tt.unknown {
			body = struct{ io.Reader }{body}
		}
		req, err := http.NewRequest(tt.method, url, body)
		if err != nil {
			t.Fatal(err)
		}
		if tt.trailer != "" {
			req.Trailer = http.Header{"Sum": {tt.trailer}}
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatal(res, err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		for end := time.Now().Add(5 * time.Second); len(shadow.list()) <= n; <-time.After(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("request %d is not mirrored: %v", n, p.Samples(t, "caddy_ballast_mirror"))
			}
		}
		want, got := main.list()[n], shadow.list()[n]
		if got.body != want.body || got.sum != tt.trailer || want.sum != tt.trailer || got.method != tt.method || !got.marked || want.marked {
			t.Errorf("request %d: the backend got %+v, the mirror %+v", n, want, got)
		}
		if tt.trailer == "" && (got.length != int64(len(tt.body)) || len(got.encoded) > 0) {
			t.Errorf("request %d: the copy has length %d, encoding %v; want %d", n, got.length, got.encoded, len(tt.body))
		}
	}
	before := len(shadow.list())
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello")
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(res, err)
	}
	echo := make([]byte, 5)
	if _, err := io.ReadFull(r, echo); err != nil || string(echo) != "hello" {
		t.Errorf("the upgraded connection has %q, %v", echo, err)
	}
	if n := len(shadow.list()); n != before {
		t.Errorf("%d upgrades are mirrored", n-before)
	}
}

// A copy goes by the transport of the proxy: with its TLS and the name in it, evaluated for the copy,
// and with the client's address in the PROXY protocol.
func TestMirrorByTheTransport(t *testing.T) {
	names := make(chan string, 10)
	tlsServer := func() string {
		s := httptest.NewUnstartedServer(new(book))
		s.TLS = &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			names <- hello.ServerName
			return nil, nil
		}}
		s.StartTLS()
		t.Cleanup(s.Close)
		_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
		return port
	}
	p, url := front(t, `{"transport":{"protocol":"http","tls":{"insecure_skip_verify":true,"server_name":"{http.request.header.X-Name}-{http.reverse_proxy.upstream.port}.test"}},
		"dynamic_upstreams":{"source":"pool",`+dials("https://127.0.0.1:"+tlsServer())+`,"mirror":{"ratio":1,"to":["https://127.0.0.1:`+tlsServer()+`"]}}}`)
	req, _ := http.NewRequest(http.MethodGet, url, nil)
	req.Header.Set("X-Name", "shop")
	res, err := http.DefaultClient.Do(req)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatal(res, err)
	}
	res.Body.Close()
	to := p.Samples(t, "caddy_ballast_backend_up")[0].Labels["backend"]
	_, port, _ := net.SplitHostPort(to)
	got := []string{<-names, <-names}
	own := slices.Index(got, "shop-"+port+".test")
	if own < 0 || !strings.HasPrefix(got[1-own], "shop-") || got[1-own] == got[own] {
		t.Errorf("the servers are named %v, the backend has the port %s", got, port)
	}

	lines := make(chan string, 10)
	proxied := func() string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				r := bufio.NewReader(conn)
				line, _ := r.ReadString('\n')
				if _, err := http.ReadRequest(r); err != nil {
					t.Error(err)
				}
				lines <- line
				_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
				conn.Close()
			}
		}()
		return l.Addr().String()
	}
	_, url = front(t, `{"transport":{"protocol":"http","proxy_protocol":"v1"},"dynamic_upstreams":{"source":"pool",`+dials(proxied())+`,"mirror":{"ratio":1,"to":["`+proxied()+`"]}}}`)
	if res, err = http.Get(url); err != nil || res.StatusCode != http.StatusNoContent {
		t.Fatal(res, err)
	}
	for range 2 {
		if line := <-lines; !strings.HasPrefix(line, "PROXY TCP4 127.0.0.1 ") {
			t.Errorf("the PROXY protocol begins with %q", line)
		}
	}
}
