// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// TestOverloadFloodLeavesNoMemory refuses thousands of requests over many
// connections, which stay open, of one client and of many: Caddy's heap is as it
// was.
func TestOverloadFloodLeavesNoMemory(t *testing.T) {
	crews, to := startCrews(t)
	port := freePort(t)
	c := startCaddy(t, "", telling(port, `
		shed fixed 1 {
			name each
			per header X-Client
			max_keys 100
		}
		shed fixed 1 {
			name all
		}
		`+toPool("to"+to+"\nmax_requests 10\nqueue 100 500ms")))
	release := hold(crews)
	done := c.occupy(crews, fmt.Sprintf("http://127.0.0.1:%d/", port))

	const connections, each = 100, 100
	var floods [connections]*flood
	for i := range floods {
		floods[i] = &flood{conn: speak(t, port, ""), name: i}
		floods[i].in = bufio.NewReader(floods[i].conn)
	}
	send := func(n int) {
		var all sync.WaitGroup
		for _, f := range floods {
			all.Go(func() {
				for range n {
					if err := f.refused(); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
	}
	send(10) // whatever is made once is made now, keys among them
	before := c.heap()
	send(each)
	after := c.heap()
	// The least that can be kept of a request is a pointer and what it points to: 16
	// bytes each, since no allocation is smaller than 8, or 16 with a pointer. What
	// else the heap differs by, from one look to the next, is below 100 KB.
	t.Logf("the heap is %d KB before and %d KB after %d refused requests", before>>10, after>>10, connections*each)
	if grown, most := after-before, connections*each*16+100<<10; grown > most {
		t.Errorf("the heap has grown by %d bytes over %d refused requests, want at most %d", grown, connections*each, most)
	}
	release()
	if got := <-done; got != "200 admitted" {
		t.Errorf("who was let in ended as %q", got)
	}
	if n := c.series("caddy_ballast_shed_refused_total"); n != connections*(each+10) {
		t.Errorf("%v refused requests are counted, want %d", n, connections*(each+10))
	}
}

// flood is a connection that asks again and again, each time as another client.
type flood struct {
	conn net.Conn
	in   *bufio.Reader
	name int
}

func (f *flood) refused() error {
	f.name += 1000
	fmt.Fprintf(f.conn, "GET / HTTP/1.1\r\nHost: localhost\r\nX-Client: %d\r\n\r\n", f.name)
	res, err := http.ReadResponse(f.in, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && (res.StatusCode != http.StatusServiceUnavailable || string(body) != "refused") {
		err = fmt.Errorf("status %d: %q", res.StatusCode, body)
	}
	return err
}

// heap returns how many bytes Caddy's heap has after a garbage collection. What is
// pooled is gone after the second.
func (c *caddyProcess) heap() (bytes int) {
	c.t.Helper()
	for range 3 {
		text := c.get("/debug/pprof/heap?gc=1&debug=1")
		_, figure, _ := strings.Cut(text, "\n# HeapAlloc = ")
		figure, _, _ = strings.Cut(figure, "\n")
		n, err := strconv.Atoi(figure)
		if err != nil {
			c.t.Fatal(err)
		}
		bytes = n
	}
	return bytes
}
