// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// answers are responses of HTTP/1.1 backends, as they are on the connection, and a part of what a client gets of them
// by a plain proxy. All with a body have a type: without one, and without a length, it is chance whether Caddy adds one.
var answers = []struct{ name, method, text, want string }{
	{"JSON", "GET", "HTTP/1.1 503 Busy\r\nContent-Type: application/json\r\nRetry-After: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nServer: app\r\nContent-Length: 16\r\n\r\n" +
		`{"error":"busy"}`, `"{\"error\":\"busy\"}"`},
	{"a POST", "POST", "HTTP/1.1 503 Busy\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nbusy", `"busy"`},
	{"gzip", "GET", "HTTP/1.1 503 Busy\r\nContent-Type: text/plain\r\nContent-Encoding: gzip\r\nVary: Accept-Encoding\r\nContent-Length: " + fmt.Sprint(len(gzipped)) + "\r\n\r\n" + gzipped, "Content-Encoding: gzip"},
	{"gzip in chunks", "GET", "HTTP/1.1 503 Busy\r\nContent-Type: text/plain\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(gzipped) + "0\r\n\r\n", "Content-Encoding: gzip"},
	{"a trailer that is announced", "GET", "HTTP/1.1 503 Busy\r\nContent-Type: text/plain\r\nTrailer: X-Announced\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbusy\r\n0\r\nX-Announced: one\r\n\r\n", "X-Announced: one"},
	{"a trailer that is not announced", "GET", "HTTP/1.1 503 Busy\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbusy\r\n0\r\nX-Late: two\r\n\r\n", "X-Late: two"},
	{"trailers of both kinds", "GET", "HTTP/1.1 503 Busy\r\nContent-Type: text/plain\r\nTrailer: X-Announced\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbusy\r\n0\r\nX-Announced: one\r\nX-Late: two\r\n\r\n", "X-Late: two"},
	{"a trailer that does not come", "GET", "HTTP/1.1 503 Busy\r\nContent-Type: text/plain\r\nTrailer: X-Announced\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbusy\r\n0\r\n\r\n", `"busy"`},
	{"HEAD", "HEAD", "HTTP/1.1 503 Busy\r\nContent-Type: text/plain\r\nContent-Length: 1234\r\n\r\n", "Content-Length: 1234"},
	{"HEAD without a length", "HEAD", "HTTP/1.1 503 Busy\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n", "503"},
	{"304", "GET", "HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\nCache-Control: max-age=60\r\n\r\n", `Etag: "v1"`},
	{"no body", "GET", "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "Content-Length: 0"},
	{"1 MB", "GET", "HTTP/1.1 503 Busy\r\nContent-Type: text/plain\r\nContent-Length: 1000000\r\n\r\n" + large, "1000000 bytes"},
	{"1 MB in chunks", "GET", "HTTP/1.1 503 Busy\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\nTrailer: X-Announced\r\n\r\n" + chunks(large) + "0\r\nX-Announced: one\r\n\r\n", "1000000 bytes"},
	{"until the connection closes", "GET", "HTTP/1.0 503 Busy\r\nContent-Type: text/plain\r\n\r\nbusy", `"busy"`},
	{"1 MB until the connection closes", "GET", "HTTP/1.1 503 Busy\r\nContent-Type: text/plain\r\n\r\n" + large, "1000000 bytes"},
	{"broken off", "GET", "HTTP/1.1 503 Busy\r\nContent-Type: text/plain\r\nContent-Length: 1000\r\n\r\nbusy", `"busy"`},
	{"broken off in a chunk", "GET", "HTTP/1.1 503 Busy\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbusy\r\n10\r\nbusy", `"busy`},
	{"1 MB, broken off", "GET", "HTTP/1.1 503 Busy\r\nContent-Type: text/plain\r\nContent-Length: 2000000\r\n\r\n" + large, "1000000 bytes"},
}

// large is a body that no buffer holds.
var large = func() string {
	var b strings.Builder
	for i := 0; b.Len() < 1_000_000; i++ {
		fmt.Fprintf(&b, "%09d\n", i)
	}
	return b.String()
}()

var gzipped = func() string {
	var b strings.Builder
	w := gzip.NewWriter(&b)
	io.WriteString(w, strings.Repeat("busy ", 1000))
	w.Close()
	return b.String()
}()

// chunks divides a body into chunks of up to 10,000 bytes.
func chunks(body string) string {
	var b strings.Builder
	for chunk := range slices.Chunk([]byte(body), 10_000) {
		fmt.Fprintf(&b, "%x\r\n%s\r\n", len(chunk), chunk)
	}
	return b.String()
}

// retryWays are the ways in which the attempts for a request end: the members of the pool with three
// backends that answer and two that refuse connections, and how many of the first get the request.
var retryWays = []struct {
	name, members string
	attempts      int
}{
	{"used up", "to ANSWERS", 3},
	{"no budget", "to ANSWERS\nretry_budget 0% 0", 1},
	{"the others refuse", "backend FIRST\nbackend REFUSES {\nbackup\n}\nbackend ALSO {\nbackup\n}", 1},
}

// retrySites returns a plain proxy to the first of five backends, and pools to all for the retryWays; and
// their ports.
func retrySites(t testing.TB, transport string, backends [5]string) (sites string, ports []int) {
	site := func(to string) string {
		ports = append(ports, freePort(t))
		return fmt.Sprintf(":%d {\nbind 127.0.0.1\nreverse_proxy {\n%s\n%s\n}\n}\n", ports[len(ports)-1], to, transport)
	}
	sites = site("to FIRST")
	for i, way := range retryWays {
		sites += site(fmt.Sprintf(`dynamic pool way%d {
				%s
				outliers off
				retry 2 {
					on connect 200 304 503
					on grpc UNAVAILABLE
					methods GET HEAD POST
					backoff 1ms
				}
			}`, i, way.members))
	}
	return strings.NewReplacer("ANSWERS", strings.Join(backends[:3], " "), "FIRST", backends[0], "REFUSES", backends[3], "ALSO", backends[4]).Replace(sites), ports
}

// attempted records which backends got the requests, by the field X-Id.
type attempted struct {
	mu sync.Mutex
	by map[string][]string
}

func (a *attempted) add(id, backend string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.by == nil {
		a.by = make(map[string][]string)
	}
	a.by[id] = append(a.by[id], backend)
}

// of returns the backends, each once for an attempt.
func (a *attempted) of(id string) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(slices.Values(a.by[id]))
}

// compare compares what a client gets by a plain proxy, of which want is a part, with what it gets by pools
// whose attempts have ended in one of the retryWays. ask sends a request with an id.
func (a *attempted) compare(t *testing.T, ports []int, want string, ask func(t *testing.T, port int, id string) string) {
	t.Helper()
	reference := ask(t, ports[0], t.Name())
	if !strings.Contains(reference, want) {
		t.Fatalf("by a plain proxy a client gets\n%s\nwithout %s", reference, want)
	}
	for i, way := range retryWays {
		id := t.Name() + "/" + way.name
		if got := ask(t, ports[i+1], id); got != reference {
			t.Errorf("%s: the client gets\n%s\nand by a plain proxy\n%s", way.name, got, reference)
		}
		if got := a.of(id); len(got) != way.attempts || len(slices.Compact(got)) != way.attempts {
			t.Errorf("%s: attempts at %v, want %d", way.name, got, way.attempts)
		}
	}
}

// TestRetryLastAnswer compares the answer that a pool with `retry` passes on when all attempts have
// failed with that of a plain reverse_proxy to the same backend: status, header, body, trailer, and how a
// body breaks off. Only the date, and the division into chunks, may differ.
func TestRetryLastAnswer(t *testing.T) {
	var a attempted
	var backends [5]string
	for i := range 3 {
		backends[i] = a.serve(t)
	}
	backends[3], backends[4] = freeAddress(t), freeAddress(t)
	sites, ports := retrySites(t, "", backends)
	c := startCaddy(t, "servers {\nprotocols h1 h2 h2c\n}", sites)
	client := newClient(t, true)
	t.Run("all", func(t *testing.T) {
		for i, answer := range answers {
			t.Run("HTTP1 "+answer.name, func(t *testing.T) {
				t.Parallel()
				a.compare(t, ports, answer.want, func(t *testing.T, port int, id string) string {
					return askHTTP1(t, port, answer.method, i, id)
				})
			})
			t.Run("HTTP2 "+answer.name, func(t *testing.T) {
				t.Parallel()
				a.compare(t, ports, answer.want, func(t *testing.T, port int, id string) string {
					req, err := http.NewRequest(answer.method, fmt.Sprintf("http://127.0.0.1:%d/%d", port, i), bodyOf(answer.method))
					if err != nil {
						t.Fatal(err)
					}
					return askHTTP2(t, client, req, id)
				})
			})
		}
	})
	retries := c.metric("retries_total")
	if got, want := retries[backends[3]]+retries[backends[4]], float64(2*2*len(answers)); got != want {
		t.Errorf("%v attempts at the backends that refuse connections, want %v", got, want)
	}
	client.CloseIdleConnections()
	c.quiet()
}

// serve starts a backend that writes the answer whose number is the path, and returns its address.
func (a *attempted) serve(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				req, err := http.ReadRequest(bufio.NewReader(conn))
				if err != nil {
					return
				}
				io.Copy(io.Discard, req.Body)
				a.add(req.Header.Get("X-Id"), l.Addr().String())
				i := 0
				fmt.Sscanf(req.URL.Path, "/%d", &i)
				line, rest, _ := strings.Cut(answers[i].text, "\r\n")
				io.WriteString(conn, line+"\r\nConnection: close\r\n"+rest)
			}()
		}
	}()
	return l.Addr().String()
}

// bodyOf returns the body of a request.
func bodyOf(method string) io.Reader {
	if method == http.MethodPost {
		return strings.NewReader(strings.Repeat("x", 10_000))
	}
	return nil
}

// askHTTP1 returns the answer as it is on the connection, but for its date and chunks.
func askHTTP1(t *testing.T, port int, method string, i int, id string) string {
	t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(3 * soon))
	req, err := http.NewRequest(method, fmt.Sprintf("http://127.0.0.1:%d/%d", port, i), bodyOf(method))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Id", id)
	req.Header.Set("Accept-Encoding", "gzip")
	req.Close = true
	if err := req.Write(conn); err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	head, body, _ := bytes.Cut(all, []byte("\r\n\r\n"))
	var lines []string
	for line := range strings.SplitSeq(string(head), "\r\n") {
		if !strings.HasPrefix(line, "Date: ") {
			lines = append(lines, line)
		}
	}
	if !slices.Contains(lines, "Transfer-Encoding: chunked") || method == http.MethodHead {
		return describe(strings.Join(lines, "\n"), body, nil, "")
	}
	r := bufio.NewReader(bytes.NewReader(body))
	body, err = io.ReadAll(httputil.NewChunkedReader(r))
	trailer, _ := io.ReadAll(r)
	return describe(strings.Join(lines, "\n"), body, err, string(trailer))
}

// askHTTP2 returns the answer to a request, but for its date.
func askHTTP2(t *testing.T, client *http.Client, req *http.Request, id string) string {
	t.Helper()
	req.Header.Set("X-Id", id)
	req.Header.Set("Accept-Encoding", "gzip") // without it the client would decompress the body
	req.Header.Set("Te", "trailers")
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	announced := len(res.Trailer)
	body, err := io.ReadAll(res.Body)
	res.Header.Del("Date")
	return describe(fmt.Sprintf("%s %s, length %d, %d trailers\n%s", res.Proto, res.Status, res.ContentLength, announced, fields(res.Header)), body, err, fields(res.Trailer))
}

// fields returns a header or a trailer as text.
func fields(h http.Header) string {
	var b strings.Builder
	_ = h.Write(&b)
	return b.String()
}

// describe describes a response, whose body may be long or broken off.
func describe(header string, body []byte, err error, trailer string) string {
	return fmt.Sprintf("%s\n%d bytes: %.20q... %x, whole: %v\n%s", header, len(body), body, sha256.Sum256(body), err == nil, trailer)
}

// unavailable is a gRPC service of which all calls fail: Check without a message, so that the status is in the
// header, and Watch after one, so that it is in the trailer.
type unavailable struct {
	healthpb.UnimplementedHealthServer
	*attempted
	address string
}

// fail counts the attempt.
func (u *unavailable) fail(ctx context.Context) error {
	in, _ := metadata.FromIncomingContext(ctx)
	u.add(strings.Join(in.Get("x-id"), ""), u.address)
	return status.Error(codes.Unavailable, "busy, 100 %")
}

// Check implements [healthpb.HealthServer].
func (u *unavailable) Check(ctx context.Context, _ *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	_ = grpc.SetTrailer(ctx, metadata.Pairs("x-late", "two", "x-late", "three"))
	return nil, u.fail(ctx)
}

// Watch implements [healthpb.HealthServer].
func (u *unavailable) Watch(_ *healthpb.HealthCheckRequest, stream healthpb.Health_WatchServer) error {
	_ = stream.SetHeader(metadata.Pairs("x-early", "one"))
	_ = stream.Send(&healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING})
	stream.SetTrailer(metadata.Pairs("x-late", "two"))
	return u.fail(stream.Context())
}

// TestRetryLastAnswerOfGRPC does the same with gRPC statuses, in the trailer and in the header.
func TestRetryLastAnswerOfGRPC(t *testing.T) {
	var a attempted
	var backends [5]string
	for i := range 3 {
		u := &unavailable{attempted: &a}
		backends[i] = serveGRPC(t, u)
		u.address = backends[i]
	}
	backends[3], backends[4] = freeAddress(t), freeAddress(t)
	sites, ports := retrySites(t, "transport http {\nversions h2c 2\n}", backends)
	c := startCaddy(t, "servers {\nprotocols h1 h2 h2c\n}", sites)
	client := newClient(t, true)
	for method, want := range map[string]string{"Check": "Grpc-Message: busy", "Watch": "Grpc-Message: busy, 100 %25\r\nGrpc-Status: 14\r\nX-Late: two"} {
		t.Run(method, func(t *testing.T) {
			a.compare(t, ports, want, func(t *testing.T, port int, id string) string {
				call := bytes.NewReader(make([]byte, 5)) // a message without content
				req, err := http.NewRequest(http.MethodPost, fmt.Sprintf("http://127.0.0.1:%d/grpc.health.v1.Health/%s", port, method), call)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Content-Type", "application/grpc")
				return askHTTP2(t, client, req, id)
			})
		})
	}
	client.CloseIdleConnections()
	c.quiet()
}
