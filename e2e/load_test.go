// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"
)

// load is a client that sends requests at a fixed rate, whether they are
// answered or not, and counts what becomes of them.
type load struct {
	t       testing.TB
	request func() (backend string, err error)
	quit    chan struct{}
	wg      sync.WaitGroup
	once    sync.Once

	mu     sync.Mutex
	served map[string]int // by X-Backend
	total  int
	failed int
	errors []string // the first of them
}

// maxOutstanding bounds the requests on their way. It is far above what any
// test needs; to reach it is a failure.
const maxOutstanding = 4000

// startLoad sends requests to url, so many a second, until stop or the end of
// the test. A request whose connection is dropped before it is answered is
// sent again up to redials times.
func startLoad(t testing.TB, url string, perSecond, redials int) *load {
	return startRequests(t, perSecond, newGetter(t, url, soon, redials).request)
}

// startImpatientLoad does the same for a client that waits for 2 seconds.
func startImpatientLoad(t testing.TB, url string, perSecond int) *load {
	return startRequests(t, perSecond, newGetter(t, url, 2*time.Second, 0).request)
}

// startRequests has a function, which returns who has answered, make requests.
func startRequests(t testing.TB, perSecond int, request func() (string, error)) *load {
	l := &load{t: t, request: request, quit: make(chan struct{}), served: make(map[string]int)}
	l.wg.Add(1)
	go l.run(time.Second / time.Duration(perSecond))
	t.Cleanup(l.stop)
	return l
}

// run keeps to the schedule: after a late tick it sends all that is due.
func (l *load) run(every time.Duration) {
	defer l.wg.Done()
	slots := make(chan struct{}, maxOutstanding)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for due := time.Now(); ; {
		select {
		case <-l.quit:
			return
		case now := <-ticker.C:
			for ; due.Before(now); due = due.Add(every) {
				select {
				case slots <- struct{}{}:
					l.wg.Go(func() {
						l.count(l.request())
						<-slots
					})
				default:
					l.count("", fmt.Errorf("%d requests wait for an answer", maxOutstanding))
				}
			}
		}
	}
}

// dropped reports whether a connection was closed before any of an answer. A
// plain Caddy does that to a few new connections when it hands its listeners
// from one configuration to the next; clients dial again, as browsers do.
func dropped(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// getter asks one URL.
type getter struct {
	url     string
	redials int
	client  *http.Client
}

func newGetter(t testing.TB, url string, timeout time.Duration, redials int) *getter {
	transport := &http.Transport{MaxIdleConnsPerHost: 512}
	t.Cleanup(transport.CloseIdleConnections)
	return &getter{url, redials, &http.Client{Transport: transport, Timeout: timeout}}
}

// request returns the backend, which must have sent its own name.
func (g *getter) request() (backend string, err error) {
	res, err := g.client.Get(g.url)
	for range g.redials {
		if err == nil || !dropped(err) {
			break
		}
		res, err = g.client.Get(g.url)
	}
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	backend = res.Header.Get("X-Backend")
	if err == nil && (res.StatusCode != http.StatusOK || string(body) != backend) {
		err = fmt.Errorf("status %d from %q: %q", res.StatusCode, backend, body)
	}
	return backend, err
}

func (l *load) count(backend string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.total++
		l.served[backend]++
		return
	}
	l.failed++
	if len(l.errors) < 5 {
		l.errors = append(l.errors, time.Now().Format(time.StampMilli)+" "+err.Error())
	}
}

// stop ends the load and waits for the answers. It may be called again.
func (l *load) stop() {
	l.once.Do(func() { close(l.quit) })
	l.wg.Wait()
}

// mustNotFail fails the test if a request has failed.
func (l *load) mustNotFail() {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed > 0 {
		l.t.Fatalf("%d requests of %d failed, the first ones: %q", l.failed, l.failed+l.total, l.errors)
	}
}

// lost returns how many requests have failed.
func (l *load) lost() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// counts returns how many requests each backend has answered.
func (l *load) counts() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.served)
}

// more waits until n more requests have been answered.
func (l *load) more(n int) {
	l.t.Helper()
	goal := l.answered() + n
	eventually(l.t, fmt.Sprintf("%d more requests are answered", n), func() bool { return l.answered() >= goal })
}

// answered returns how many requests have been answered.
func (l *load) answered() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}
