// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package proxyhook

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/backendtest"
)

// proxyTo returns a proxy with Caddy's own transport to one address, which does not retry.
func proxyTo(t *testing.T, address string) (*lbtest.Proxy, *backend.Backend) {
	p := lbtest.NewProxy(t, fmt.Sprintf(`{"load_balancing":{"selection_policy":{"policy":"attachtest"}},"upstreams":[{"dial":%q}]}`, address), nil)
	b := backend.New("", backend.Endpoint{Address: address, Settings: backend.Settings{ID: address, Weight: new(1)}}, backend.NewState(), nil, nil)
	policyOf(p).backends[address] = b
	return p, b
}

// post sends a POST with a body. Any answer but 200 is an error.
func post(p *lbtest.Proxy, id, size int) error {
	body := strings.Repeat("x", size)
	req := httptest.NewRequest(http.MethodPost, "http://x/", io.NopCloser(strings.NewReader(body)))
	req.ContentLength = int64(size)
	req.Header.Set("Id", strconv.Itoa(id))
	w, err := p.Do(req)
	if err == nil && w.Code != http.StatusOK {
		err = fmt.Errorf("status %d", w.Code)
	}
	return err
}

// service is what a test's backends are, and what came to them.
type service struct {
	timeout time.Duration // they close connections that are idle for so long
	deadly  bool          // they die at any time

	mu    sync.Mutex
	times map[string]int // requests
}

// listen starts a backend and returns its address.
func (s *service) listen(t *testing.T) string {
	return serve(t, func(conn net.Conn) { s.serve(conn.(*net.TCPConn)) })
}

// serve serves a connection. If the service is deadly it does so like a process that ends at any
// time: it reads a request, and then answers, resets the connection, closes it, or closes it with a
// part of the body unread.
func (s *service) serve(conn *net.TCPConn) {
	r := bufio.NewReaderSize(conn, 1<<10)
	for first := true; ; first = false {
		if !first {
			_ = conn.SetReadDeadline(time.Now().Add(s.timeout))
		}
		_, err := r.Peek(1)
		if err != nil && !unread(conn) {
			return
		}
		_ = conn.SetReadDeadline(time.Time{})
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		s.add(req.Header.Get("Id"))
		end := 3
		if s.deadly {
			end = rand.IntN(8)
		}
		if end != 0 {
			_, _ = io.Copy(io.Discard, req.Body)
		}
		switch end {
		case 1:
			_ = conn.SetLinger(0)
			return
		case 0, 2:
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	}
}

// unread reports whether something has come that was not read.
func unread(conn *net.TCPConn) (some bool) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	_ = raw.Control(func(fd uintptr) {
		n, _, _ := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		some = n > 0
	})
	return some
}

func (s *service) add(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.times == nil {
		s.times = make(map[string]int)
	}
	s.times[id]++
}

// check checks that no request came twice, and returns how many came.
func (s *service) check(t *testing.T) int {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, n := range s.times {
		if n != 1 {
			t.Errorf("request %s came %d times", id, n)
		}
	}
	return len(s.times)
}

// load is what a test sends: requests to each of some backends, which close connections that are
// idle for timeout. The times between the requests are random, on average that timeout.
type load struct {
	backends, requests int
	timeout            time.Duration
}

// newLoad returns the load of a test. BALLAST_STALE=1 asks for the measurement of
// docs/decisions/011-stale-connections.md instead.
func newLoad() load {
	if os.Getenv("BALLAST_STALE") != "" {
		return load{3, 3334, 20 * time.Millisecond}
	}
	if lbtest.RaceDetector {
		return load{8, 75, 100 * time.Millisecond}
	}
	return load{40, 75, 100 * time.Millisecond}
}

// send sends the requests to backends of s. It returns the errors of those that failed, and how many
// were sent again.
func (l load) send(t *testing.T, s *service) (lost []error, resends int64) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var backends []*backend.Backend
	for i := range l.backends {
		p, b := proxyTo(t, s.listen(t))
		backends = append(backends, b)
		wg.Go(func() {
			for k := range l.requests {
				<-time.After(time.Duration(rand.ExpFloat64() * float64(l.timeout)))
				wg.Go(func() {
					if err := post(p, i*l.requests+k, 1+rand.IntN(2000)); err != nil {
						mu.Lock()
						defer mu.Unlock()
						lost = append(lost, err)
					}
				})
			}
		})
	}
	wg.Wait()
	for _, b := range backends {
		resends += b.Totals().Resends
	}
	return lost, resends
}

// A request that comes when its backend has decided to close the connection, but before it does, has
// the connection reset, and cannot be told from one that the backend has read. No other may be lost.
// The backends look once more whether a request has come, so there is next to none.
func TestBackendsThatCloseIdleConnectionsLoseNoRequest(t *testing.T) {
	l := newLoad()
	s := &service{timeout: l.timeout}
	lost, resends := l.send(t, s)
	t.Logf("%d requests received, %d lost, %d sent again", s.check(t), len(lost), resends)
	for _, err := range lost {
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("a request was lost: %v", err)
		}
	}
}

func TestBackendsThatDieAfterReadingGetNoRequestTwice(t *testing.T) {
	l := newLoad()
	s := &service{timeout: l.timeout, deadly: true}
	lost, resends := l.send(t, s)
	t.Logf("%d requests received, %d lost, %d sent again", s.check(t), len(lost), resends)
}

// closing returns a POST on whose first connection the backend closes its end as soon as the
// transport has chosen it.
func closing(id, body string, conns <-chan net.Conn) *http.Request {
	req := httptest.NewRequest(http.MethodPost, "http://x/", io.NopCloser(strings.NewReader(body)))
	req.ContentLength = int64(len(body))
	req.Header.Set("Id", id)
	var once sync.Once
	return req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) {
		once.Do(func() { (<-conns).Close() })
	}}))
}

func TestRequestOnAStaleConnectionIsSentAgainWithItsBody(t *testing.T) {
	var got service
	conns := make(chan net.Conn, 10)
	bodies := make(chan string, 10)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies <- string(body)
		got.add(r.Header.Get("Id"))
	}))
	s.Config.ConnState = func(conn net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns <- conn
		}
	}
	s.Start()
	defer s.Close()
	p, b := proxyTo(t, s.Listener.Addr().String())
	if err := post(p, 1, 0); err != nil {
		t.Fatal(err)
	}
	<-bodies
	const body = "all of it"
	if w, err := p.Do(closing("2", body, conns)); err != nil || w.Code != http.StatusOK {
		t.Fatalf("status %d, %v", w.Code, err)
	}
	if got := <-bodies; got != body {
		t.Errorf("the body is %q", got)
	}
	got.check(t)
	if got := b.Totals(); got.Resends != 1 || got.Requests != 2 || got.Retries != 0 || got.InFlight != 0 || backendtest.Failures(got) != 0 {
		t.Errorf("counted %+v", got)
	}
}

// A new connection that breaks is no stale one: the backend may be broken.
func TestRequestOnANewConnectionIsNotSentAgain(t *testing.T) {
	conns := make(chan net.Conn, 10)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns <- conn
		}
	}()
	p, b := proxyTo(t, l.Addr().String())
	if _, err := p.Do(closing("1", "x", conns)); err == nil {
		t.Error("no error")
	}
	if got := b.Totals(); got.Resends != 0 || backendtest.Failures(got) != 1 {
		t.Errorf("counted %+v", got)
	}
}

// Node's servers announce their timeout in each response.
func TestAnnouncedTimeoutOfResponsesIsLearned(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Keep-Alive", "timeout=5, max=1000")
	}))
	defer s.Close()
	p, b := proxyTo(t, s.Listener.Addr().String())
	if err := post(p, 1, 10); err != nil {
		t.Fatal(err)
	}
	if got := b.KeepAlive.Limit(clock.Now()); got != 4*time.Second {
		t.Errorf("idle connections are used for %v, not 4s", got)
	}
}
