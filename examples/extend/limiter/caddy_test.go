// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package targetlimiter

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/ballast-lb/caddy-ballast"
)

// A Caddy with this limiter lets in as many as the limit says that it begins with.
func TestInCaddy(t *testing.T) {
	const clients = 50
	var inFlight atomic.Int32
	full, enough := make(chan struct{}), make(chan struct{})
	backend := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if inFlight.Add(1) == 20 {
			close(full)
		}
		<-enough
	}))
	t.Cleanup(backend.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	site := l.Addr().String()
	l.Close()
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(fmt.Appendf(nil, `{
		admin off
		auto_https off
	}
	http://%s {
		bind 127.0.0.1
		shed {
			algorithm target 10s
		}
		reverse_proxy %s
	}`, site, backend.Listener.Addr()), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = caddy.Stop() })

	var wg sync.WaitGroup
	var served, refused atomic.Int32
	get := func() {
		resp, err := http.Get("http://" + site)
		if err != nil {
			t.Error(err)
			return
		}
		resp.Body.Close()
		switch resp.StatusCode {
		case http.StatusOK:
			served.Add(1)
		case http.StatusServiceUnavailable:
			refused.Add(1)
		}
	}
	for range 20 {
		wg.Go(get)
	}
	<-full
	for range clients - 20 {
		get()
	}
	close(enough)
	wg.Wait()
	if served.Load() != 20 || refused.Load() != clients-20 {
		t.Errorf("%d requests were served and %d refused, want 20 and %d", served.Load(), refused.Load(), clients-20)
	}
}
