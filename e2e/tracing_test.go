// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

// TestSpans sends requests through proxies that retry, hedge and queue, some one by one and some at
// a time. The collector must get the span of each request, as a child of the client's, and one child
// of it for each attempt, which is the span that the attempt's backend got as its parent; and nothing
// else.
func TestSpans(t *testing.T) {
	collector := startCollector(t)
	backends, port, refusing := newTraced(t), freePort(t), freeAddress(t)
	to := backends.addresses()
	sites := ""
	for path, options := range map[string]string{
		"retry":   "dynamic pool retry {\nto " + to + "\noutliers off\nretry 2 {\non reset 503\nbackoff 1ms\n}\n}\nlb_policy wrr",
		"timeout": "dynamic pool timeout {\nto " + to + "\noutliers off\nretry 1 {\non timeout\ntimeout 1s\n}\n}",
		"hedge":   "dynamic pool hedge {\nto " + to + "\noutliers off\nhedge 50% {\nmax 100%\nmin 100ms\n}\nretry 1 {\non 503\n}\n}\nlb_policy wrr",
		"refused": "dynamic pool refused {\nto " + refusing + to + "\noutliers off\nretry 1\n}\nlb_policy first",
		"tries":   "dynamic pool tries {\nto " + refusing + to + "\noutliers off\n}\nlb_policy first\nlb_retries 1",
		"list":    "to " + to + "\nlb_policy wrr",
		"queue":   "dynamic pool queue {\nto " + backends.all[0].address + "\nmax_requests 1\nqueue 10 10s\n}",
	} {
		sites += fmt.Sprintf("handle /%s {\nreverse_proxy {\n%s\nheader_up Try {http.ballast.tries}\n}\n}\n", path, options)
	}
	c := startCaddy(t, "", fmt.Sprintf(":%d {\nbind 127.0.0.1\ntracing\n%s}", port, sites))
	s := &sender{url: fmt.Sprintf("http://127.0.0.1:%d/", port), client: newGetter(t, "", soon, 0).client, backends: backends, refusing: refusing}

	// When attempts are late is known once a late one on each backend has led to a second one.
	for range 30 {
		s.send(t.Context(), &tracedRequest{path: "hedge", script: "200"})
	}
	late := make(map[string]bool)
	eventually(t, "late attempts on each backend lead to second ones", func() bool {
		r := s.send(t.Context(), &tracedRequest{path: "hedge", script: "slow-200 200"})
		if attempts := backends.of(r); len(attempts) == 2 {
			late[attempts[0].backend] = true
		}
		return len(late) == len(backends.all)
	})

	for _, r := range []*tracedRequest{
		{path: "retry", script: "200", want: "200"},
		{path: "retry", script: "200", want: "200", root: true},
		{path: "retry", script: "503 200", unsampled: true},
		{path: "retry", script: "404", want: "404"},
		{path: "retry", script: "503 reset 200", want: "503 reset 200"},
		{path: "retry", script: "503 503 503", want: "503 503 503"},
		{path: "retry", script: "reset reset reset", want: "reset reset reset"},
		{path: "timeout", script: "hang 200", want: "timeout 200", policy: "p2c"},
		{path: "refused", script: "- 200", want: "refused 200", policy: "first"},
		{path: "tries", script: "200", want: "refused 200", policy: "first"},
		{path: "list", script: "503", want: "503"},
		{path: "hedge", script: "hang 200", want: "cancelled 200"},
		{path: "hedge", script: "late-200 hang", want: "200 cancelled"},
		{path: "hedge", script: "late-503 503 200", want: "503 503 200"},
	} {
		s.send(t.Context(), r)
	}
	s.sendQueued(t, c)
	s.sendAndLeave(t)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 15 {
				s.send(t.Context(), anyRequest())
			}
		})
	}
	wg.Wait()

	c.quiet()
	c.stop() // which exports what was not exported yet
	traces, faults := collector.received()
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	for _, r := range s.all {
		s.check(t, r, traces)
		delete(traces, r.trace)
	}
	for trace, spans := range traces {
		t.Errorf("trace %s is of no request: %v", trace, spans)
	}
}

// tracedRequest is a request, and what is to be seen of it.
type tracedRequest struct {
	path   string
	script string // see [traced]
	want   string // of each attempt the status of the answer, or the error type; "" for not known
	policy string // wrr by default
	queued bool   // the first attempt

	root      bool // the client does not trace
	unsampled bool // the client does not sample

	id, trace, parent string
	took              time.Duration
}

// anyRequest returns one that is retried, or one that is hedged if it is late: which attempts there
// are then depends on how busy the machine is, too.
func anyRequest() *tracedRequest {
	if rand.IntN(2) == 0 {
		script := []string{"200", "503 200", "reset 503 200", "503 reset 503"}[rand.IntN(4)]
		return &tracedRequest{path: "retry", script: script, want: script}
	}
	return &tracedRequest{path: "hedge", script: []string{"200", "hang 200", "late-200 hang", "late-503 503 200"}[rand.IntN(4)] + " 200"}
}

// sender sends requests, each in a trace of its own.
type sender struct {
	url      string
	client   *http.Client
	backends *traced
	refusing string // an address that nobody listens on

	mu  sync.Mutex
	all []*tracedRequest
}

// send sends a request, and returns it when the response has ended. Whoever sends the request looks
// at nothing of the response but that.
func (s *sender) send(ctx context.Context, r *tracedRequest) *tracedRequest {
	s.mu.Lock()
	s.all = append(s.all, r)
	r.id = strconv.Itoa(len(s.all))
	s.mu.Unlock()
	if r.policy == "" {
		r.policy = "wrr"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+r.path, nil)
	if err != nil {
		panic(err) // the URL is the test's own
	}
	req.Header.Set("Request", r.id)
	req.Header.Set("Script", r.script)
	if !r.root {
		r.trace, r.parent = fmt.Sprintf("%016x%016x", rand.Uint64()|1, rand.Uint64()), fmt.Sprintf("%016x", rand.Uint64()|1)
		req.Header.Set("Traceparent", fmt.Sprintf("00-%s-%s-%s", r.trace, r.parent, r.flags()))
	}
	began := time.Now()
	if res, err := s.client.Do(req); err == nil {
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}
	r.took = time.Since(began)
	return r
}

// sendQueued sends a request that waits in the queue until another one has ended.
func (s *sender) sendQueued(t *testing.T, c *caddyProcess) {
	t.Helper()
	first, second := &tracedRequest{path: "queue", script: "held-200", want: "200", policy: "p2c"}, &tracedRequest{path: "queue", script: "200", want: "200", policy: "p2c", queued: true}
	var wg sync.WaitGroup
	wg.Go(func() { s.send(t.Context(), first) })
	eventually(t, "the slot is taken", func() bool { return c.metric("requests_in_flight")[s.backends.all[0].address] == 1 })
	wg.Go(func() { s.send(t.Context(), second) })
	eventually(t, "a request waits", func() bool { return c.series("caddy_ballast_pool_queue_length") == 1 })
	close(s.backends.release)
	wg.Wait()
}

// sendAndLeave sends a request whose client leaves before it is answered.
func (s *sender) sendAndLeave(t *testing.T) {
	t.Helper()
	ctx, leave := context.WithCancel(t.Context())
	r := &tracedRequest{path: "retry", script: "left-hang", want: "client_gone"}
	var wg sync.WaitGroup
	wg.Go(func() { s.send(ctx, r) })
	wait(t, "the backend has the request", s.backends.left)
	leave()
	wg.Wait()
}

func (r *tracedRequest) flags() string {
	if r.unsampled {
		return "00"
	}
	return "01"
}

// check compares what came to the collector of a request with what came to the backends.
func (s *sender) check(t *testing.T, r *tracedRequest, traces map[string][]span) {
	t.Helper()
	arrivals := s.backends.of(r)
	if r.root && len(arrivals) > 0 {
		r.trace = strings.Split(arrivals[0].traceparent+"--", "-")[1]
	}
	spans := traces[r.trace]
	defer func() {
		if t.Failed() {
			t.Fatalf("of request %+v the spans are %+v, and the backends got %+v", *r, spans, arrivals)
		}
	}()
	if r.unsampled {
		for _, a := range arrivals {
			if !strings.HasPrefix(a.traceparent, "00-"+r.trace+"-") || !strings.HasSuffix(a.traceparent, "-00") {
				t.Errorf("a backend got the traceparent %s", a.traceparent)
			}
		}
		if len(arrivals) == 0 || len(spans) > 0 {
			t.Errorf("%d attempts of a request that is not sampled have %d spans", len(arrivals), len(spans))
		}
		return
	}
	attempts := make([]span, len(spans)-min(1, len(spans))) // by their number
	var server span
	for _, one := range spans {
		try, _ := one.attributes["ballast.try"].(int64)
		switch {
		case one.kind == tracepb.Span_SPAN_KIND_SERVER && server.id == "":
			server = one
		case one.kind == tracepb.Span_SPAN_KIND_CLIENT && one.scope == pluginModule && try > 0 && int(try) <= len(attempts) && attempts[try-1].id == "":
			attempts[try-1] = one
		default:
			t.Errorf("the span %+v is of another kind than client, has no number, or one that is taken", one)
		}
	}
	if server.id == "" || server.parent != r.parent || len(attempts) == 0 {
		t.Errorf("the request has the span %q with the parent %q, want %q, and %d attempts", server.id, server.parent, r.parent, len(attempts))
	}
	backendOf := s.match(t, r, attempts, arrivals)
	outcomes := strings.Fields(r.want)
	if r.want != "" && len(outcomes) != len(attempts) {
		t.Errorf("%d attempts have spans, want %d", len(attempts), len(outcomes))
		return
	}
	for i, a := range attempts {
		if a.parent != server.id {
			t.Errorf("attempt %d has the parent %q, want %q", i+1, a.parent, server.id)
		}
		if r.want != "" {
			s.checkAttempt(t, r, a, i+1, outcomes[i], backendOf[a.id])
		}
	}
}

// match returns the backend of each span. Each backend must have got the span of its own attempt,
// and each attempt come to its backend, unless it failed before.
func (s *sender) match(t *testing.T, r *tracedRequest, attempts []span, arrivals []arrival) map[string]string {
	t.Helper()
	backendOf := make(map[string]string)
	for _, a := range arrivals {
		i := slices.IndexFunc(attempts, func(one span) bool {
			return a.traceparent == fmt.Sprintf("00-%s-%s-01", r.trace, one.id) && one.attributes["ballast.backend"] == a.backend
		})
		if i < 0 || backendOf[attempts[i].id] != "" {
			t.Errorf("backend %s got the traceparent %s, which is not that of the span of its attempt", a.backend, a.traceparent)
			continue
		}
		backendOf[attempts[i].id] = a.backend
	}
	for i, a := range attempts {
		switch {
		case backendOf[a.id] != "":
		case a.attributes["error.type"] == "refused":
			backendOf[a.id] = s.refusing
		case a.attributes["error.type"] == "cancelled": // maybe before it was sent, if the machine is busy
			backendOf[a.id], _ = a.attributes["ballast.backend"].(string)
		default:
			t.Errorf("attempt %d has a span, and came to no backend", i+1)
		}
	}
	return backendOf
}

// checkAttempt checks the span of an attempt, which must have these attributes and no other.
func (s *sender) checkAttempt(t *testing.T, r *tracedRequest, a span, try int, outcome, backend string) {
	t.Helper()
	host, port, err := net.SplitHostPort(backend)
	n, err2 := strconv.ParseInt(port, 10, 64)
	if err != nil || err2 != nil {
		t.Error(err, err2)
		return
	}
	want := map[string]any{
		"http.request.method": "GET", "url.path": "/" + r.path, "server.address": host, "server.port": n,
		"ballast.backend": backend, "ballast.policy": r.policy, "ballast.try": int64(try),
	}
	if r.path != "list" {
		want["ballast.pool"] = r.path
	}
	if try > 1 {
		want["http.request.resend_count"] = int64(try - 1)
	}
	code, err := strconv.ParseInt(outcome, 10, 64)
	if err == nil {
		want["http.response.status_code"] = code
	}
	status := tracepb.Status_STATUS_CODE_UNSET
	if err != nil || code >= http.StatusBadRequest {
		want["error.type"], status = outcome, tracepb.Status_STATUS_CODE_ERROR
	}
	got := maps.Clone(a.attributes)
	waited, _ := got["ballast.queue_wait"].(float64)
	if _, has := got["ballast.queue_wait"]; has != r.queued || has && (waited <= 0 || waited > r.took.Seconds()) {
		t.Errorf("attempt %d has waited for %v s of the %v s of its request, want some of it: %v", try, waited, r.took.Seconds(), r.queued)
	}
	delete(got, "ballast.queue_wait")
	if !maps.Equal(got, want) || a.status != status {
		t.Errorf("attempt %d has the status %v and the attributes %v, want %v and %v", try, a.status, got, status, want)
	}
}

// traced are backends that do with each attempt of a request what the word of its field Script
// says that has the attempt's number, which is in the field Try (with a policy of Caddy and its own
// retries, that of the attempt before): answer with a status, `reset` the
// connection, or `hang`. A word before it and a hyphen delays that: `slow` for some time, `late` until
// there is a second attempt, `held` until the test releases it; `left` tells the test.
type traced struct {
	all     []*scripted
	release chan struct{} // closed for what is held
	left    chan struct{}

	mu       sync.Mutex
	arrivals map[string][]arrival     // by the field Request
	second   map[string]chan struct{} // closed when there are two
}

// arrival is an attempt that came to a backend.
type arrival struct{ backend, traceparent string }

func newTraced(t *testing.T) *traced {
	t.Helper()
	three, _ := startThree(t)
	s := &traced{all: three[:], release: make(chan struct{}), left: make(chan struct{}, 1), arrivals: make(map[string][]arrival), second: make(map[string]chan struct{})}
	for _, b := range s.all {
		b.serves(func(w http.ResponseWriter, r *http.Request) { s.serve(b, w, r) })
	}
	return s
}

// addresses returns the addresses for a Caddyfile, after a space each.
func (s *traced) addresses() (to string) {
	for _, b := range s.all {
		to += " " + b.address
	}
	return to
}

// of returns the attempts of a request that came to backends.
func (s *traced) of(r *tracedRequest) []arrival {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.arrivals[r.id])
}

// arrive records an attempt, and returns a channel that is closed when there are two.
func (s *traced) arrive(request string, a arrival) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrivals[request] = append(s.arrivals[request], a)
	if s.second[request] == nil {
		s.second[request] = make(chan struct{})
	}
	if len(s.arrivals[request]) == 2 {
		close(s.second[request])
	}
	return s.second[request]
}

func (s *traced) serve(b *scripted, w http.ResponseWriter, r *http.Request) {
	second := s.arrive(r.Header.Get("Request"), arrival{b.address, r.Header.Get("Traceparent")})
	script := strings.Fields(r.Header.Get("Script"))
	try, err := strconv.Atoi(r.Header.Get("Try"))
	if err != nil || try < 1 || try > len(script) {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	before, word, delayed := strings.Cut(script[try-1], "-")
	if !delayed {
		word = before
	}
	gate := closed
	switch {
	case !delayed:
	case before == "late":
		gate = second
	case before == "held":
		gate = s.release
	case before == "left":
		s.left <- struct{}{}
	}
	select {
	case <-gate:
	case <-r.Context().Done():
	}
	switch status, _ := strconv.Atoi(word); {
	case before == "slow":
		b.later(300*time.Millisecond)(w, r)
	case word == "reset":
		reset(w, r)
	case word == "hang":
		never(w, r)
	default:
		w.WriteHeader(status)
	}
}

// closed is a channel that nobody waits for.
var closed = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()
