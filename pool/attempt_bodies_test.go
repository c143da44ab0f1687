// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// trailingBody sets the trailer of its request at its end, as that of a server does.
type trailingBody struct {
	io.ReadCloser
	of *http.Request
}

func (b *trailingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.of.Trailer.Set("Sum", "1")
	}
	return n, err
}

// The first backend answers while the client still sends the body, and reads on. The trailer comes at the time of the
// second attempt, which names its fields before the body.
func TestRetryWhileTheTrailerComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts := 0
		answer := func(req *http.Request) (int, error) {
			if attempts++; attempts%2 == 1 {
				go func() { _, _ = io.ReadAll(req.Body) }()
				time.Sleep(ms)
				return retryAfter("1")(req)
			}
			if _, ok := req.Trailer["Sum"]; !ok || len(req.Trailer) != 1 {
				t.Errorf("before the body the trailer is %v", req.Trailer)
			}
			body, err := io.ReadAll(req.Body)
			if string(body) != "hello" || req.Trailer.Get("Sum") != "1" {
				t.Errorf("the body is %q, with the trailer %v", body, req.Trailer)
			}
			return 200, err
		}
		p := pooled(t, wrr, "", `"outliers":{"off":true},"retry":{"tries":1,"on":["503"]}`, lbtest.Backends{"a:1": answer, "b:1": answer, "c:1": answer})
		for range 20 {
			body, client := io.Pipe()
			req := httptest.NewRequest(http.MethodPut, "http://x/", nil)
			req.ContentLength, req.Trailer = -1, http.Header{"Sum": nil}
			req.Body = &trailingBody{body, req}
			go func() {
				_, _ = io.WriteString(client, "hello")
				time.Sleep(time.Second + ms)
				client.Close()
			}()
			if r := p.Serve(req); r.Status != 200 {
				t.Fatal(r.Status, r.Err)
			}
		}
	})
}

// Without budget for a retry, the answer is passed on at once, and its backend gets the rest of the body.
func TestAnswerWithoutRetryBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		upload := make(chan string, 1)
		answer := func(req *http.Request) (int, error) {
			go func() {
				body, err := io.ReadAll(req.Body)
				upload <- fmt.Sprint(string(body), err)
			}()
			return retryAfter("1")(req)
		}
		p := pooled(t, wrr, "", `"retry_budget":{"ratio":0,"min":0},"retry":{"tries":1,"on":["503"]}`, lbtest.Backends{"a:1": answer, "b:1": answer, "c:1": answer})
		body, client := io.Pipe()
		req := httptest.NewRequest(http.MethodPut, "http://x/", body)
		req.ContentLength = 5
		start := time.Now()
		if r := p.Serve(req); r.Status != 503 || r.Placeholder("reason") != "retry_budget" || time.Since(start) != 0 {
			t.Errorf("%d with reason %q after %v, want 503 at once", r.Status, r.Placeholder("reason"), time.Since(start))
		}
		go func() {
			_, _ = io.WriteString(client, "hello")
			client.Close()
		}()
		if got := <-upload; got != "hello<nil>" {
			t.Errorf("the backend got %s", got)
		}
		body.Close()
		expectRefused(t, p, 1)
	})
}
