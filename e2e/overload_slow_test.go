// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// TestOverloadSlowClients has one client read a response slowly, and one send a
// request slowly: with a fixed limit each has one place, for as long as it takes.
func TestOverloadSlowClients(t *testing.T) {
	b := startScripted(t, freeAddress(t), nil)
	b.serves(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/large": // for ever
			for block := make([]byte, 1<<16); ; {
				if _, err := w.Write(block); err != nil {
					return
				}
			}
		case "/upload":
			io.Copy(io.Discard, r.Body)
		}
		b.name(w, r)
	})
	port := freePort(t)
	url := fmt.Sprintf("http://127.0.0.1:%d/", port)
	c := startCaddy(t, "", telling(port, "shed fixed 2\nreverse_proxy "+b.address))
	client := newGetter(t, url, soon, 0).client
	expect := func(when, want string) {
		t.Helper()
		if got, err := outcome(client, url); got != want {
			t.Errorf("%s: got %q, %v, want %q", when, got, err, want)
		}
	}
	inside := func(n float64) {
		t.Helper()
		eventually(t, fmt.Sprintf("%v requests are in flight", n), func() bool { return c.shedding() == n })
	}
	reads := func() net.Conn {
		t.Helper()
		conn := speak(t, port, "GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if res, err := http.ReadResponse(bufio.NewReaderSize(conn, 16), nil); err != nil || res.StatusCode != http.StatusOK {
			t.Fatal(res, err)
		}
		return conn
	}
	sends := func() net.Conn {
		t.Helper()
		came := b.requests.Load()
		conn := speak(t, port, "POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nlittle")
		eventually(t, "the request is at the backend", func() bool { return b.requests.Load() > came })
		return conn
	}

	reader, sender := reads(), sends()
	inside(2)
	expect("with both inside", "503 shed limit later")
	for range 5 { // each goes on a little, and is inside still
		io.ReadFull(reader, make([]byte, 1000))
		io.WriteString(sender, "more")
		expect("with both going on", "503 shed limit later")
	}

	reader.Close()
	inside(1)
	expect("without the reader", "200 admitted")
	reader = reads()
	inside(2)
	expect("with both inside again", "503 shed limit later")
	sender.Close()
	inside(1)
	expect("without the sender", "200 admitted")

	sender = sends() // to its end this time
	inside(2)
	expect("with another sender", "503 shed limit later")
	sender.Write(make([]byte, 1000-len("little")))
	if res, err := http.ReadResponse(bufio.NewReader(sender), nil); err != nil || res.StatusCode != http.StatusOK {
		t.Error(res, err)
	}
	inside(1)
	reader.Close()
	inside(0)
	c.quiet()
}

// speak opens a connection to a port, which is closed with the test, and writes to
// it. What it is waited for comes soon.
func speak(t *testing.T, port int, text string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(soon))
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn
}
