// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package loadgen

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestClientTellsOutcomesApart(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Backend", "a")
		switch r.URL.Path {
		case "/busy":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/missing":
			w.WriteHeader(http.StatusNotFound)
		case "/late":
			w.WriteHeader(http.StatusOK)
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		case "/broken":
			panic(http.ErrAbortHandler)
		default:
			io.WriteString(w, "hello")
		}
	}))
	defer server.Close()
	for path, want := range map[string]Reply{
		"/": {Answered, 200, "a"}, "/busy": {Refused, 503, "a"}, "/missing": {Failed, 404, "a"},
		"/late": {Outcome: TimedOut}, "/broken": {Outcome: Failed},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if want.Outcome == TimedOut {
			ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
		}
		client, err := NewClient(Target{URL: server.URL + path, ServerHeader: "X-Backend"})
		if err != nil {
			t.Fatal(err)
		}
		if got := client.Do(ctx); got != want {
			t.Errorf("%s is %v, want %v", path, got, want)
		}
		client.Close()
		cancel()
	}
}

func TestClientSendsWhatTheTargetSays(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if _, err := r.Cookie("session"); err != nil {
			http.SetCookie(w, &http.Cookie{Name: "session", Value: "s1", Path: "/"})
		}
		if r.URL.Path == "/out" {
			http.SetCookie(w, &http.Cookie{Name: "session", Value: "", Expires: time.Unix(1, 0)})
		}
		got := strings.Join([]string{r.Method, r.Host, r.URL.RequestURI(), r.Header.Get("X-Tenant"), string(body), r.Header.Get("Cookie")}, "|")
		w.Header().Set("X-Seen", got)
	}))
	defer server.Close()
	client, err := NewClient(Target{URL: server.URL + "/a//b?c=%20", Method: "PUT", Body: []byte("text"), Cookies: true, SkipVerify: true,
		Header: [][2]string{{"Host", "example.com"}, {"X-Tenant", "t"}}, ServerHeader: "X-Seen"})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for i, want := range []string{
		"PUT|example.com|/a//b?c=%20|t|text|", "PUT|example.com|/a//b?c=%20|t|text|session=s1",
		"PUT|example.com|/out|t|text|session=s1", "PUT|example.com|/a//b?c=%20|t|text|",
	} {
		got := ""
		if i == 2 {
			got = client.Get(ctx, "/out").Server
		} else {
			got = client.Do(ctx).Server
		}
		if got != want {
			t.Errorf("request %d is %q, want %q", i, got, want)
		}
	}
	for _, bad := range []string{"", "127.0.0.1:80", "ftp://a/", "http://", "http://a b/"} {
		if _, err := NewClient(Target{URL: bad}); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
