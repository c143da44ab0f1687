// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// TestRetry kills one backend after another and starts it again, under load of which half are POST
// requests with a body and a key. No request may fail, and no body may be cut.
func TestRetry(t *testing.T) {
	backends := startBackends(t, 3)
	port := freePort(t)
	c := startCaddy(t, "", fmt.Sprintf(`
		:%d {
			bind 127.0.0.1
			reverse_proxy {
				dynamic pool web {
					to %s
					retry 2 {
						on connect reset
						header Idempotency-Key
					}
				}
			}
		}`, port, addresses(backends)))
	l := startHalfPosts(t, fmt.Sprintf("http://127.0.0.1:%d/", port), "Idempotency-Key")
	eventually(t, "all backends answer", func() bool { return len(l.counts()) == 3 })
	for range 2 {
		for _, b := range backends {
			b.kill()
			l.more(150)
			b.start()
			l.more(350)
		}
	}
	l.stop()
	l.mustNotFail()
	if retries := c.metric("retries_total"); retries[backends[0].address]+retries[backends[1].address]+retries[backends[2].address] == 0 {
		t.Error("nothing was retried, so nothing was tried")
	}
}

// startHalfPosts sends loadRate requests a second to url. Half of them are POST requests with a body
// and a field of the given name, which has another value in each. A backend must have got all of the body.
func startHalfPosts(t testing.TB, url, field string) *load {
	client, body := newGetter(t, url, soon, 0).client, strings.Repeat("x", 10_000)
	var sent atomic.Int64
	return startRequests(t, loadRate, func() (string, error) {
		req, err := http.NewRequest(http.MethodGet, url, nil)
		if n := sent.Add(1); n%2 == 0 {
			req, err = http.NewRequest(http.MethodPost, url, strings.NewReader(body))
			req.Header.Set(field, strconv.FormatInt(n, 10))
		}
		if err != nil {
			return "", err
		}
		res, err := client.Do(req)
		if err != nil {
			return "", err
		}
		defer res.Body.Close()
		name, err := io.ReadAll(res.Body)
		want := strconv.FormatInt(max(0, req.ContentLength), 10)
		if backend := res.Header.Get("X-Backend"); err == nil && (res.StatusCode != http.StatusOK || string(name) != backend || res.Header.Get("X-Body") != want) {
			err = fmt.Errorf("%s: status %d from %q, which got %s bytes, want %s", req.Method, res.StatusCode, backend, res.Header.Get("X-Body"), want)
		}
		return res.Header.Get("X-Backend"), err
	})
}
