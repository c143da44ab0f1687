// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/fanout"
	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	_ "github.com/ballast-lb/caddy-ballast/pool"
	_ "github.com/ballast-lb/caddy-ballast/selection"
)

func init() { caddy.RegisterModule(new(pipes)) }

func TestMain(m *testing.M) { lbtest.Main(m) }

// servers is the backends of a test, by address.
type servers map[string]http.HandlerFunc

var (
	serversMu sync.Mutex
	onDuty    servers
)

// pass has more time pass than anything takes that is configured here.
func pass() {
	time.Sleep(time.Hour)
	synctest.Wait()
}

// pipes is a transport without sockets, which has the handlers of the crew answer
// as a server does: in pieces, and until the request's context ends.
type pipes struct{}

func (*pipes) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.transport.pipes", New: func() caddy.Module { return new(pipes) }}
}

func (*pipes) RoundTrip(req *http.Request) (*http.Response, error) {
	info, _ := reverseproxy.GetDialInfo(req.Context())
	serversMu.Lock()
	serve := onDuty[info.Address]
	serversMu.Unlock()
	if serve == nil {
		return nil, reverseproxy.NewDialError(errors.New("connection refused"))
	}
	at := req.Clone(req.Context())
	if at.Body == nil {
		at.Body = http.NoBody
	}
	r, w := io.Pipe()
	p := &piece{header: make(http.Header), came: make(chan *http.Response, 1), body: w, req: req, rest: r}
	go func() {
		serve(p, at)
		p.WriteHeader(http.StatusOK)
		w.Close()
	}()
	stop := context.AfterFunc(req.Context(), func() { w.CloseWithError(req.Context().Err()) })
	select {
	case res := <-p.came:
		if res == nil {
			stop()
			return nil, errors.New("connection reset by peer")
		}
		return res, nil
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
}

// piece is the ResponseWriter of a crew's handler.
type piece struct {
	header http.Header
	came   chan *http.Response
	body   *io.PipeWriter
	rest   *io.PipeReader
	req    *http.Request
	wrote  bool
}

func (p *piece) Header() http.Header { return p.header }

func (p *piece) WriteHeader(status int) {
	if p.wrote {
		return
	}
	p.wrote = true
	res := &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: p.req,
		Header: p.header.Clone(), Body: p.rest, ContentLength: -1,
	}
	if n, err := strconv.ParseInt(p.header.Get("Content-Length"), 10, 64); err == nil {
		res.ContentLength = n
	}
	if p.req.Method == http.MethodHead || status == http.StatusNoContent || status == http.StatusNotModified {
		res.Body, res.ContentLength = http.NoBody, 0
	}
	p.came <- res
}

func (p *piece) Write(b []byte) (int, error) {
	p.WriteHeader(http.StatusOK)
	return p.body.Write(b)
}

// reset breaks the connection without an answer.
func reset(w http.ResponseWriter, _ *http.Request) {
	p := w.(*piece)
	p.wrote = true
	p.came <- nil
}

// hang answers nothing until the request is given up.
func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// says answers with a status and a text.
func says(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}
}

// after answers later.
func after(d time.Duration, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(d):
			next(w, r)
		case <-r.Context().Done():
		}
	}
}

// inTurn answers the n-th request as the n-th of them, and the last for all others.
func inTurn(handlers ...http.HandlerFunc) http.HandlerFunc {
	var mu sync.Mutex
	n := 0
	return func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		h := handlers[min(n, len(handlers)-1)]
		n++
		mu.Unlock()
		h(w, r)
	}
}

// site is a fanout handler in a configuration of its own.
type site struct {
	*lbtest.Config
	*fanout.Handler
}

// newSite loads a handler with the given options in JSON, for a pool or upstreams.
func newSite(t testing.TB, members servers, apps caddy.ModuleMap, options string) *site {
	t.Helper()
	s, err := loadSite(t, members, apps, options)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func loadSite(t testing.TB, members servers, apps caddy.ModuleMap, options string) (*site, error) {
	t.Helper()
	serversMu.Lock()
	onDuty = members
	serversMu.Unlock()
	s := new(site)
	var err error
	s.Config, err = lbtest.LoadConfig(t, apps, nil, func(ctx caddy.Context) error {
		mod, err := ctx.LoadModuleByID("http.handlers.fanout", json.RawMessage(`{"transport":{"protocol":"pipes"},`+options+`}`))
		if err == nil {
			s.Handler = mod.(*fanout.Handler)
		}
		return err
	})
	return s, err
}

// three are the upstreams of most tests.
const three = `"upstreams":["a:1","b:1","c:1"]`

// web is a pool of three.
func web(more string) caddy.ModuleMap {
	return caddy.ModuleMap{"ballast": json.RawMessage(`{"pools":{"web":{"backends":[{"dial":"a:1"},{"dial":"b:1"},{"dial":"c:1"}]` + more + `}}}`)}
}

// result is what became of a request.
type result struct {
	lbtest.Reply
	status int
	header http.Header
	body   string
	took   time.Duration
	err    error
}

// report is the body of an answer, as far as it is looked at.
type report struct {
	Result       string
	Of, Needed   int
	Accepted     int
	Key          string `json:"idempotency_key"`
	Have         []string
	HaveNot      []string `json:"have_not"`
	Unknown      []string
	LeftOut      []struct{ ID, Reason string } `json:"left_out"`
	Joined, Left []string
	Backends     []struct {
		ID, Address, Write, Error string
		Status, Tries             int
		Seconds                   float64
		Pending                   bool
	}
}

func (r result) report(t testing.TB) (rep report) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.body), &rep); err != nil {
		t.Fatalf("status %d, %v, the body is no report: %q: %v", r.status, r.err, r.body, err)
	}
	return rep
}

// do sends a request.
func (s *site) do(req *http.Request) result {
	began := time.Now()
	r := lbtest.Serve(s.Handler, req, nil)
	return result{r, r.Status, r.Header(), r.Body.String(), time.Since(began), r.Err}
}

func post(body string) *http.Request {
	return httptest.NewRequest(http.MethodPost, "http://site/register?a=b", strings.NewReader(body))
}

// metric is that of [lbtest.Config], for a series of fan-outs.
func (s *site) metric(t testing.TB, name string, labels ...string) float64 {
	t.Helper()
	return s.Metric(t, "caddy_ballast_fanout_"+name, labels...)
}

// totals returns what the pool has counted of a backend.
func totals(t testing.TB, name, address string) backend.Totals {
	t.Helper()
	p := pool.Current(name)
	if p == nil || p.Find(address) == nil {
		t.Fatalf("there is no backend %s in %s", address, name)
	}
	return p.Find(address).Totals()
}

func bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

func equal(t testing.TB, what string, got, want any) {
	t.Helper()
	if g, w := asJSON(got), asJSON(want); g != w {
		t.Errorf("%s is %s, want %s", what, g, w)
	}
}

func asJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}
