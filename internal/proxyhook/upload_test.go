// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/backendtest"
)

// A request whose body cannot be read is its client's failure, not the backend's.
func TestAbortedUploadIsNoFailure(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	defer server.Close()
	address := server.Listener.Addr().String()
	p := lbtest.NewProxy(t, strings.NewReplacer(`{"protocol":"lbtest"}`, `{"protocol":"http"}`, "a:1", address, `,{"dial":"b:1"}`, "").Replace(config), nil)
	b := backend.New("", backend.Endpoint{Address: address, Settings: backend.Settings{ID: address, Weight: new(1)}}, backend.NewState(), nil, nil)
	policyOf(p).backends[address] = b
	body := io.MultiReader(strings.NewReader("some of it"), broken{})
	req := httptest.NewRequest(http.MethodPost, "http://x/", body)
	req.ContentLength = -1
	if _, err := p.Do(req); err == nil {
		t.Fatal("no error though the body cannot be read")
	}
	if got := b.Totals(); backendtest.Failures(got) != 0 || got.ClientGone != 1 {
		t.Errorf("got %+v", got)
	}
	// With a backend that breaks off in the middle of an upload, it is nobody's.
	rude, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer rude.Close()
	go func() {
		for {
			conn, err := rude.Accept()
			if err != nil {
				return
			}
			_ = conn.(*net.TCPConn).SetLinger(0)
			_, _ = conn.Read(make([]byte, 1))
			conn.Close()
		}
	}()
	address = rude.Addr().String()
	p = lbtest.NewProxy(t, strings.NewReplacer(`{"protocol":"lbtest"}`, `{"protocol":"http"}`, "a:1", address, `,{"dial":"b:1"}`, "", `"retries":3,`, "").Replace(config), nil)
	b = backend.New("", backend.Endpoint{Address: address, Settings: backend.Settings{ID: address, Weight: new(1)}}, backend.NewState(), nil, nil)
	policyOf(p).backends[address] = b
	req = httptest.NewRequest(http.MethodPost, "http://x/", io.LimitReader(zeros{}, 1<<26))
	req.ContentLength = -1
	if _, err := p.Do(req); err == nil {
		t.Fatal("no error though the backend breaks off")
	}
	if got := b.Totals(); backendtest.Failures(got) != 1 || got.Failures[outlier.Unsent] != 1 || got.ClientGone != 0 {
		t.Errorf("got %+v", got)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("malformed chunk") }

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
