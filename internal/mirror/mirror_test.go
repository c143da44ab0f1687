// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
	"weak"
)

// shadow is a mirror that records what it gets, and answers by answer.
type shadow struct {
	*Mirror
	counters CopyCounters
	answer   func(req *http.Request) (*http.Response, error)

	mu  sync.Mutex
	got []received
}

// received is a copy as it came.
type received struct {
	method, body string
	length       int64
	header       http.Header
	trailer      http.Header
}

func newShadow(t *testing.T, policy MirrorPolicy, answer func(*http.Request) (*http.Response, error)) *shadow {
	t.Helper()
	s := &shadow{answer: answer}
	if policy.Ratio == 0 {
		policy.Ratio = 1
	}
	if policy.Methods == nil {
		policy.Methods = []string{"GET", "HEAD", "POST"}
	}
	if policy.Body == 0 {
		policy.Body = 1000
	}
	if policy.MaxInFlight == 0 {
		policy.MaxInFlight = 10
	}
	if policy.Timeout == 0 {
		policy.Timeout = time.Second
	}
	policy.To = []string{"shadow:1"}
	s.Mirror = New(policy, &s.counters)
	t.Cleanup(s.Stop)
	return s
}

// RoundTrip is the transport of the copies.
func (s *shadow) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.got = append(s.got, received{req.Method, string(body), req.ContentLength, req.Header.Clone(), maps.Clone(req.Trailer)})
	s.mu.Unlock()
	return s.answer(req)
}

func (s *shadow) all() []received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got
}

// begin begins the copy of a request, as a proxy does.
func (s *shadow) begin(req *http.Request) *Copy {
	c := s.Begin(req, req.Header)
	if c != nil {
		out := (&http.Request{Method: req.Method, URL: req.URL, Header: req.Header.Clone()}).WithContext(s.Context())
		s.Prepare(out.Header)
		c.Send(out, s)
	}
	return c
}

// serve sends a request whose backend reads the body and answers with a status.
func (s *shadow) serve(req *http.Request, status int) error {
	c := s.begin(req)
	followed := c.Follow(req)
	var err error
	if followed.Body != nil {
		_, err = io.Copy(io.Discard, followed.Body)
		followed.Body.Close()
	}
	if err != nil {
		c.Answered(nil, err)
		return err
	}
	c.Answered(&http.Response{StatusCode: status}, nil)
	return nil
}

// expect checks the counts of drops and results; those that are not given are 0.
func (s *shadow) expect(t *testing.T, drops map[Drop]int64, results map[Result]int64) {
	t.Helper()
	got := s.counters.Totals()
	for _, d := range Drops {
		if got.Dropped[d] != drops[d] {
			t.Errorf("%d drops because of %s, want %d", got.Dropped[d], d, drops[d])
		}
	}
	for _, r := range Results {
		if got.Results[r] != results[r] {
			t.Errorf("%d results %s, want %d", got.Results[r], r, results[r])
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if got.InFlight != 0 || s.inFlight != 0 {
		t.Errorf("%d are in flight at the end", got.InFlight)
	}
}

func status(code int) func(*http.Request) (*http.Response, error) {
	return func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: code, Body: io.NopCloser(strings.NewReader("answer"))}, nil
	}
}

// hang answers nothing.
func hang(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

// endless is a body that never ends, and reads of which block until it is closed once n bytes were
// read; n is 0 for never.
type endless struct {
	n, read int
	closed  chan struct{}
	once    sync.Once
}

func (e *endless) Read(p []byte) (int, error) {
	if e.n > 0 && e.read >= e.n {
		<-e.closed
		return 0, errors.New("closed")
	}
	e.read += len(p)
	return len(p), nil
}

func (e *endless) Close() error {
	e.once.Do(func() { close(e.closed) })
	return nil
}

// unknown hides the length of a body.
func unknown(body string) io.Reader {
	return struct{ io.Reader }{strings.NewReader(body)}
}

func TestWhichRequestsAreMirrored(t *testing.T) {
	field := func(name, value string) http.Header { return http.Header{name: {value}} }
	for name, tt := range map[string]struct {
		method string
		header http.Header
		want   bool
	}{
		"GET":              {"GET", nil, true},
		"HEAD":             {"HEAD", nil, true},
		"another method":   {"DELETE", nil, false},
		"CONNECT":          {"CONNECT", nil, false},
		"an upgrade":       {"GET", field("Upgrade", "websocket"), false},
		"a copy":           {"GET", field(MarkerField, "1"), false},
		"an empty marker":  {"GET", field(MarkerField, ""), false},
		"gRPC":             {"POST", field("Content-Type", "application/grpc"), false},
		"gRPC with a type": {"POST", field("Content-Type", "Application/gRPC+proto"), false},
		"JSON":             {"POST", field("Content-Type", "application/json"), true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShadow(t, MirrorPolicy{Methods: []string{"GET", "HEAD", "POST", "CONNECT"}}, status(200))
				req := httptest.NewRequest(tt.method, "http://x/", nil)
				maps.Copy(req.Header, tt.header)
				if err := s.serve(req, 200); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if got := len(s.all()) == 1; got != tt.want {
					t.Errorf("mirrored: %v, want %v", got, tt.want)
				}
			})
		})
	}
}

// Of n requests a share of p is mirrored: within 4 standard deviations, which a correct share exceeds
// once in 15,000 runs.
func TestShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, p = 10_000, 0.1
		s := newShadow(t, MirrorPolicy{Ratio: p}, status(200))
		for range n {
			_ = s.serve(httptest.NewRequest("GET", "http://x/", nil), 200)
			synctest.Wait()
		}
		if got := float64(len(s.all())); math.Abs(got-n*p) > 4*math.Sqrt(n*p*(1-p)) {
			t.Errorf("%v of %d are mirrored, want %v", got, n, n*p)
		}
	})
}

func TestHeadersOfCopies(t *testing.T) {
	secret := []string{"Authorization", "Cookie", "Proxy-Authorization", "X-Api-Key", "X-Auth-Token", "X-Csrf-Token"}
	for _, keep := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newShadow(t, MirrorPolicy{KeepCredentials: keep}, status(200))
			req := httptest.NewRequest("GET", "http://x/", nil)
			for _, name := range append([]string{"Accept", "Expect"}, secret...) {
				req.Header.Set(name, "x")
			}
			_ = s.serve(req, 200)
			synctest.Wait()
			got := s.all()[0].header
			if got.Get(MarkerField) != "1" || got.Get("Accept") != "x" || got.Get("Expect") != "" {
				t.Errorf("the copy has %v", got)
			}
			for _, name := range secret {
				if has := got.Get(name) != ""; has != keep {
					t.Errorf("keep %v: the copy has %s: %v", keep, name, has)
				}
				if req.Header.Get(name) != "x" {
					t.Errorf("%s was removed from the request", name)
				}
			}
		})
	}
}

func TestBodies(t *testing.T) {
	for name, tt := range map[string]struct {
		body    io.Reader
		length  int64
		trailer http.Header
		want    string
		sent    int64 // the length of the copy
		drop    Drop
	}{
		"none":                            {length: 0},
		"of known length":                 {body: strings.NewReader("hello"), length: 5, want: "hello", sent: 5},
		"in small parts":                  {body: iotest.OneByteReader(strings.NewReader(strings.Repeat("x", 1000))), length: -1, want: strings.Repeat("x", 1000), sent: 1000},
		"with its end beside the data":    {body: iotest.DataErrReader(strings.NewReader("hello")), length: -1, want: "hello", sent: 5},
		"of unknown length":               {body: unknown("hello"), length: -1, want: "hello", sent: 5},
		"of unknown length, and empty":    {body: unknown(""), length: -1},
		"as large as the bound":           {body: unknown(strings.Repeat("x", 1000)), length: -1, want: strings.Repeat("x", 1000), sent: 1000},
		"too large":                       {body: unknown(strings.Repeat("x", 1001)), length: -1, drop: TooLarge},
		"of 10 MB":                        {body: unknown(strings.Repeat("x", 10<<20)), length: -1, drop: TooLarge},
		"too large, known":                {body: strings.NewReader(strings.Repeat("x", 1001)), length: 1001, drop: TooLarge},
		"that breaks off":                 {body: io.MultiReader(strings.NewReader("hel"), iotest.ErrReader(io.ErrUnexpectedEOF)), length: 5, drop: Incomplete},
		"with a trailer":                  {body: unknown("hello"), length: -1, trailer: http.Header{"Sum": {"x"}}, want: "hello", sent: -1},
		"with a trailer and known length": {body: strings.NewReader("hello"), length: 5, trailer: http.Header{"Sum": {"x"}}, want: "hello", sent: -1},
		"empty with a trailer":            {body: unknown(""), length: -1, trailer: http.Header{"Sum": {"x"}}, sent: -1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShadow(t, MirrorPolicy{}, status(200))
				ctx, leave := context.WithCancel(t.Context())
				req := httptest.NewRequest("POST", "http://x/", tt.body).WithContext(ctx)
				req.ContentLength = tt.length
				if tt.length == 0 {
					req.Body = nil
				}
				if tt.trailer != nil { // the values come with the end of the body, as from a client
					req.Trailer = http.Header{"Sum": nil}
					req.Body = io.NopCloser(&trailing{req.Body, req.Trailer, tt.trailer})
				}
				_ = s.serve(req, 200)
				leave()
				synctest.Wait()
				if tt.drop != "" {
					s.expect(t, map[Drop]int64{tt.drop: 1}, nil)
					return
				}
				s.expect(t, nil, map[Result]int64{Answered: 1})
				if got := s.all()[0]; got.body != tt.want || got.length != tt.sent || fmt.Sprint(got.trailer) != fmt.Sprint(tt.trailer) {
					t.Errorf("the copy has %d bytes, length %d, trailer %v; want %d, %d, %v", len(got.body), got.length, got.trailer, len(tt.want), tt.sent, tt.trailer)
				}
			})
		})
	}
}

// trailing is a body that sets a trailer at its end.
type trailing struct {
	io.Reader
	trailer, values http.Header
}

func (r *trailing) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err == io.EOF {
		maps.Copy(r.trailer, r.values)
	}
	return n, err
}

// A body that the backend does not read to its end is not mirrored, and holds its place no longer than
// needed: until the body is closed, or the request ends.
func TestIncompleteBodies(t *testing.T) {
	read := func(s *shadow, ctx context.Context) (*Copy, *http.Request) {
		req := httptest.NewRequest("POST", "http://x/", unknown("hello")).WithContext(ctx)
		c := s.begin(req)
		followed := c.Follow(req)
		_, _ = followed.Body.Read(make([]byte, 2))
		return c, followed
	}
	for name, end := range map[string]func(c *Copy, req *http.Request, leave func()){
		"the body is closed, then the answer comes": func(c *Copy, req *http.Request, _ func()) {
			req.Body.Close()
			c.Answered(&http.Response{StatusCode: 200}, nil)
		},
		"the answer comes, then the body is closed": func(c *Copy, req *http.Request, _ func()) {
			c.Answered(&http.Response{StatusCode: 200}, nil)
			req.Body.Close()
		},
		"the client leaves": func(_ *Copy, _ *http.Request, leave func()) { leave() },
		"all attempts fail": func(c *Copy, req *http.Request, leave func()) {
			req.Body.Close()
			c.Answered(nil, io.ErrUnexpectedEOF)
			leave()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShadow(t, MirrorPolicy{}, status(200))
				ctx, leave := context.WithCancel(t.Context())
				c, req := read(s, ctx)
				end(c, req, leave)
				synctest.Wait()
				s.expect(t, map[Drop]int64{Incomplete: 1}, nil)
				leave()
			})
		})
	}
}

// A request that is sent again, since an attempt could not connect, has one copy, with the whole body.
func TestFollowAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShadow(t, MirrorPolicy{}, status(200))
		req := httptest.NewRequest("POST", "http://x/", nil)
		var c *Copy
		for n := range 3 {
			req.Body, req.ContentLength = io.NopCloser(unknown("hello")), -1
			if c == nil {
				c = s.begin(req)
			}
			followed := c.Follow(req)
			if n < 2 {
				_, _ = followed.Body.Read(make([]byte, n)) // of request_buffers, which begin anew
				followed.Body.Close()
				c.Answered(nil, io.EOF)
				continue
			}
			_, _ = io.ReadAll(followed.Body)
			c.Answered(&http.Response{StatusCode: 200}, nil)
			c.Follow(req)
		}
		synctest.Wait()
		s.expect(t, nil, map[Result]int64{Answered: 1})
		if got := s.all()[0].body; got != "hello" {
			t.Errorf("the copy has the body %q", got)
		}
	})
}

// The client may leave as soon as the request is complete: the copy goes on.
func TestCompleteCopiesOutliveTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShadow(t, MirrorPolicy{}, func(req *http.Request) (*http.Response, error) {
			select {
			case <-time.After(500 * time.Millisecond):
				return status(200)(req)
			case <-req.Context().Done():
				return nil, req.Context().Err()
			}
		})
		for _, body := range []io.Reader{nil, unknown("hello")} {
			ctx, leave := context.WithCancel(t.Context())
			_ = s.serve(httptest.NewRequest("POST", "http://x/", body).WithContext(ctx), 200)
			leave()
		}
		time.Sleep(time.Second)
		s.expect(t, nil, map[Result]int64{Answered: 2})
	})
}

// A mirror that hangs holds so many copies and no more, for no longer than the timeout, and delays no
// request at all.
func TestBoundInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShadow(t, MirrorPolicy{MaxInFlight: 3, Timeout: time.Second}, hang)
		start := time.Now()
		for range 10 {
			if err := s.serve(httptest.NewRequest("POST", "http://x/", unknown("hello")), 200); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("requests were delayed by %v", took)
		}
		synctest.Wait()
		if n := s.counters.Totals().InFlight; n != 3 || len(s.all()) != 3 {
			t.Errorf("%d in flight, %d sent, want 3", n, len(s.all()))
		}
		time.Sleep(time.Second)
		synctest.Wait()
		s.expect(t, map[Drop]int64{AtLimit: 7}, map[Result]int64{TimedOut: 3})
	})
}

// A request whose body is being read has a place, so that the memory is bounded.
func TestBodiesThatAreReadCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShadow(t, MirrorPolicy{MaxInFlight: 1}, status(200))
		slow, client := io.Pipe()
		done := make(chan error)
		go func() { done <- s.serve(httptest.NewRequest("POST", "http://x/", slow), 200) }()
		_, _ = io.WriteString(client, "he")
		_ = s.serve(httptest.NewRequest("GET", "http://x/", nil), 200)
		client.Close()
		<-done
		synctest.Wait()
		s.expect(t, map[Drop]int64{AtLimit: 1}, map[Result]int64{Answered: 1})
	})
}

// Copies end with the configuration, whatever the mirror does.
func TestStop(t *testing.T) {
	for name, tt := range map[string]struct {
		answer func(*http.Request) (*http.Response, error)
		want   Result
	}{
		"hangs": {hang, Cancelled},
		"stops in an answer": {func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: &endless{n: 1, closed: make(chan struct{})}}, nil
		}, Answered},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShadow(t, MirrorPolicy{Timeout: time.Hour}, tt.answer)
				slow, client := io.Pipe()
				go func() { _ = s.serve(httptest.NewRequest("POST", "http://x/", slow), 200) }()
				_ = s.serve(httptest.NewRequest("GET", "http://x/", nil), 200)
				synctest.Wait()
				start := time.Now()
				s.Stop()
				s.Stop()
				if took := time.Since(start); took != 0 {
					t.Errorf("it took %v", took)
				}
				client.Close() // complete only now
				synctest.Wait()
				if c := s.Begin(httptest.NewRequest("GET", "http://x/", nil), nil); c != nil {
					t.Error("a copy begins after the end")
				}
				s.expect(t, map[Drop]int64{Ended: 1, AtLimit: 1}, map[Result]int64{tt.want: 1})
			})
		})
	}
}

// What a mirror does wrong is counted, and nothing else happens.
func TestBadMirrors(t *testing.T) {
	for name, tt := range map[string]struct {
		answer func(*http.Request) (*http.Response, error)
		want   Result
	}{
		"gone":  {func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }, Failed},
		"hangs": {hang, TimedOut},
		"sends without end": {func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: &endless{closed: make(chan struct{})}}, nil
		}, Answered},
		"stops in an answer": {func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: &endless{n: 1, closed: make(chan struct{})}}, nil
		}, Answered},
		"breaks an answer off": {func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: io.NopCloser(iotest.ErrReader(io.ErrUnexpectedEOF))}, nil
		}, Answered},
		"switches protocols": {func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 101, Body: &endless{n: 1, closed: make(chan struct{})}}, nil
		}, Answered},
		"has no body":          {func(*http.Request) (*http.Response, error) { return &http.Response{StatusCode: 204}, nil }, Answered},
		"has an odd status":    {status(999), Answered},
		"makes the code panic": {func(*http.Request) (*http.Response, error) { panic("transport") }, Failed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShadow(t, MirrorPolicy{Timeout: time.Second}, tt.answer)
				if err := s.serve(httptest.NewRequest("GET", "http://x/", nil), 200); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				synctest.Wait()
				s.expect(t, nil, map[Result]int64{tt.want: 1})
			})
		})
	}
}

// The statuses and the times to the header are compared, whichever answer comes first. Times begin
// when the request is complete.
func TestComparison(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ms = time.Millisecond
		var wait time.Duration
		code := 200
		s := newShadow(t, MirrorPolicy{}, func(req *http.Request) (*http.Response, error) {
			time.Sleep(wait)
			return status(code)(req)
		})
		for _, tt := range []struct {
			main, copy time.Duration
			status     int
		}{{30 * ms, 10 * ms, 200}, {10 * ms, 30 * ms, 200}, {10 * ms, 20 * ms, 500}} {
			wait, code = tt.copy, tt.status
			req := httptest.NewRequest("GET", "http://x/", nil)
			c := s.begin(req)
			c.Follow(req)
			time.Sleep(tt.main)
			c.Answered(&http.Response{StatusCode: 200}, nil)
			time.Sleep(time.Second)
			synctest.Wait()
		}
		got := s.counters.Totals()
		if got.Same != 2 || got.Different != 1 || got.Main != 50*ms || got.Copy != 60*ms || got.Classes != [6]int64{0, 0, 2, 0, 0, 1} {
			t.Errorf("got %+v", got)
		}
	})
}

// While the mirror hangs, copies hold their bodies and no more, and nothing of the requests. Garbage
// is collected first, so the bound is exact but for what the runtime and the test need.
func TestMemoryWhileTheMirrorHangs(t *testing.T) {
	const body, most = 64 << 10, 16
	s := newShadow(t, MirrorPolicy{Body: body, MaxInFlight: most, Timeout: time.Hour}, hang)
	data := bytes.Repeat([]byte("x"), body)
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	type key struct{}
	requests, values := make([]weak.Pointer[http.Request], 200), make([]weak.Pointer[[64]byte], 200)
	for n := range requests {
		value := new([64]byte)
		values[n] = weak.Make(value)
		ctx, leave := context.WithCancel(context.WithValue(context.Background(), key{}, value))
		req := httptest.NewRequest("POST", "http://x/", struct{ io.Reader }{bytes.NewReader(data)}).WithContext(ctx)
		requests[n] = weak.Make(req)
		c := s.Begin(req, req.Header)
		if c != nil {
			out := (&http.Request{Method: req.Method, URL: req.URL, Header: req.Header.Clone()}).WithContext(s.Context())
			c.Send(out, roundTripper(hang))
		}
		followed := c.Follow(req)
		_, _ = io.Copy(io.Discard, followed.Body)
		c.Answered(&http.Response{StatusCode: 200}, nil)
		leave()
	}
	if n := s.counters.Totals().InFlight; n != most {
		t.Fatalf("%d copies are in flight, want %d", n, most)
	}
	// 16 goroutines, contexts and timers take less than 8 KiB each.
	if grown := heap() - before; grown > most*(body+8<<10) {
		t.Errorf("%d bytes are held, want at most %d", grown, most*(body+8<<10))
	}
	for n, req := range requests {
		if req.Value() != nil || values[n].Value() != nil {
			t.Fatalf("request %d is held by its copy", n)
		}
	}
	runtime.KeepAlive(data)
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements [http.RoundTripper].
func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
