// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestOverloadRefusesBeforeTheBody refuses requests whose clients have sent little
// or nothing of their body, and send no more before they have the whole answer. What
// they send then is not taken for requests.
func TestOverloadRefusesBeforeTheBody(t *testing.T) {
	crews, to := startCrews(t)
	cleartext, secure := freePort(t), freePort(t)
	full := "shed fixed 1 {\nname full\n}\n" // one for both sites
	c := startCaddy(t, "servers {\nprotocols h1 h2 h2c\n}", telling(cleartext, full+toPool("to"+to))+
		strings.Replace(telling(secure, full+"reverse_proxy"+to), ":", "https://localhost:", 1))
	plain := fmt.Sprintf("http://127.0.0.1:%d/", cleartext)
	release := hold(crews)
	done := c.occupy(crews, plain)

	for _, b := range bodies {
		t.Run("HTTP1 "+b.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", cleartext))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(soon))
			io.WriteString(conn, "POST / HTTP/1.1\r\nHost: localhost\r\n"+b.head)
			in := bufio.NewReader(conn)
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			expectRefused(t, res)
			// The connection is closed, or the rest of the body is read from it and
			// the next request is answered. Nothing in a body may be.
			go io.WriteString(conn, b.rest+strings.Replace(smuggled, "\r\n", "\r\nConnection: close\r\n", 1))
			rest, _ := io.ReadAll(in)
			if n := strings.Count(string(rest), "HTTP/1.1 "); n > 1 || n == 1 && !strings.HasPrefix(string(rest), "HTTP/1.1 503 ") {
				t.Errorf("what is in a body was taken for requests, and answered %d times: %.200q", n, rest)
			}
		})
	}
	t.Run("HTTP1 sent at once", func(t *testing.T) {
		client := newClient(t, false)
		for range 50 {
			res, err := client.Post(plain, "", strings.NewReader(strings.Repeat("x", 1<<20)))
			if err != nil {
				t.Fatal(err)
			}
			if expectRefused(t, res); t.Failed() {
				return // one of them is enough
			}
		}
	})
	for name, r := range map[string]route{
		"HTTP2": {url: fmt.Sprintf("https://localhost:%d/", secure), client: newClient(t, true)},
		"H2C":   {url: plain, client: newClient(t, true)},
	} {
		t.Run(name, func(t *testing.T) {
			eventually(t, "the site has its certificate", func() bool { _, err := outcome(r.client, r.url); return err == nil })
			for _, length := range []int64{-1, 10_000_000} {
				ctx, cancel := context.WithTimeout(t.Context(), soon)
				defer cancel()
				body, write := io.Pipe()
				defer write.Close()
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, body)
				if err != nil {
					t.Fatal(err)
				}
				req.ContentLength = length
				go io.WriteString(write, "little")
				res, err := r.client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				expectRefused(t, res)
				// The connection is good for others.
				if got, err := outcome(r.client, r.url); got != "503 shed limit later" {
					t.Errorf("the next one ended as %q, %v", got, err)
				}
			}
		})
		r.client.CloseIdleConnections()
	}
	release()
	if got := <-done; got != "200 admitted" {
		t.Errorf("who was let in ended as %q", got)
	}
	if n := total(crews, requests); n != 1 {
		t.Errorf("%d requests came to the backends, want 1", n)
	}
	c.quiet()
}

// smuggled looks like a request, and is a part of a body.
const smuggled = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"

// many is more than a server reads of a body that nobody else does: 256 KB.
var many = strings.Repeat(smuggled, 10_000)

// bodies are ways to begin a body, and how they go on.
var bodies = []struct{ name, head, rest string }{
	{"with a length", fmt.Sprintf("Content-Length: %d\r\n\r\nlittle", len("little")+len(many)), many},
	{"with a short length", fmt.Sprintf("Content-Length: %d\r\n\r\nlittle", len("little")+len(smuggled)), smuggled},
	{"chunked", "Transfer-Encoding: chunked\r\n\r\n6\r\nlittle\r\n", fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(many), many)},
	{"in half a chunk", fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\nlittle", len("little")+len(many)), many + "\r\n0\r\n\r\n"},
	{"in half of a short chunk", fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\nlittle", len("little")+len(smuggled)), smuggled + "\r\n0\r\n\r\n"},
	{"and then no chunk", "Transfer-Encoding: chunked\r\n\r\n6\r\nlittle\r\n", "no chunk\r\n" + smuggled},
	{"that it waits to send", fmt.Sprintf("Content-Length: %d\r\nExpect: 100-continue\r\n\r\n", len(many)), many},
	{"chunked, that it waits to send", "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n", fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(many), many)},
}

// expectRefused reads a response to its end.
func expectRefused(t *testing.T, res *http.Response) {
	t.Helper()
	body, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil || res.StatusCode != http.StatusServiceUnavailable || string(body) != "refused" || res.Header.Get("X-Reason") != "limit" {
		t.Errorf("got status %d, %v, %q, %v, want a refusal", res.StatusCode, res.Header, body, err)
	}
}

// occupy sends a request that is let in and not answered while the backends hold
// theirs, and returns what will become of it.
func (c *caddyProcess) occupy(crews [3]*crew, url string) <-chan string {
	c.t.Helper()
	before, done := total(crews, busy), make(chan string, 1)
	client := newGetter(c.t, url, time.Hour, 0).client
	go func() {
		got, err := outcome(client, url)
		if err != nil {
			got = err.Error()
		}
		done <- got
	}()
	eventually(c.t, "a request is at a backend", func() bool { return total(crews, busy) > before })
	return done
}
