// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// receivedEnv names a file of 32-bit counters, in which a backend counts the requests that it has read to
// the end, by their ids. Such a backend kills itself at a stage of a request when it is told to.
const receivedEnv = "BALLAST_E2E_RECEIVED"

// The stages at which a process is killed.
const (
	beforeRequest = iota // something of a request has come, and nothing of it was read
	inRequest            // its header was read
	afterRequest         // all of it was read
	inHeader             // a part of the answer's header is sent
	inAnswer             // a part of its body is sent, too
	anyTime              // by another process
	stages
)

// killed is what a process has that will be killed.
type killed struct {
	address string
	next    atomic.Int32 // the stage that a request must reach for it to be killed, and 1; 0 for none
	counts  []uint32     // shared with other processes; outlives this one
}

// runKilledBackend serves until it is killed. Each line of its standard input tells it at which stage.
func runKilledBackend(address, received string) {
	counts, err := mapCounters(received)
	if err != nil {
		fail(err)
	}
	k := &killed{address: address, counts: counts}
	go http.Serve(killingListener{listen(address), k}, k)
	fmt.Println("listening")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		stage, err := strconv.Atoi(in.Text())
		if err != nil {
			fail(err)
		}
		k.next.Store(int32(stage) + 1)
	}
}

// mapCounters returns the counters of a file.
func mapCounters(name string) ([]uint32, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	mapped, err := syscall.Mmap(int(f.Fd()), 0, int(info.Size()), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return unsafe.Slice((*uint32)(unsafe.Pointer(&mapped[0])), len(mapped)/4), nil
}

// due reports, once, that the process is to be killed at this stage.
func (k *killed) due(stage int32) bool { return k.next.CompareAndSwap(stage+1, 0) }

// die kills the process.
func die() {
	syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// ServeHTTP implements [http.Handler].
func (k *killed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.Atoi(r.Header.Get("X-Id"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if k.due(inRequest) {
		die()
	}
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		return
	}
	atomic.AddUint32(&k.counts[id], 1)
	if k.due(afterRequest) {
		die()
	}
	if k.due(inHeader) {
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nX-Backend: 127.")
			die()
		}
	}
	w.Header().Set("X-Body", strconv.FormatInt(n, 10))
	w.Header().Set("X-Backend", k.address)
	w.Header().Set("Content-Length", strconv.Itoa(len(k.address)))
	if k.due(inAnswer) {
		io.WriteString(w, k.address[:1])
		http.NewResponseController(w).Flush()
		die()
	}
	io.WriteString(w, k.address)
}

// killingListener makes connections on which a process is killed before it reads a request.
type killingListener struct {
	net.Listener
	*killed
}

// Accept implements [net.Listener].
func (l killingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	raw, err := conn.(*net.TCPConn).SyscallConn()
	return killingConn{conn, raw, l.killed}, err
}

type killingConn struct {
	net.Conn
	raw syscall.RawConn
	*killed
}

// Read implements [net.Conn]. It waits for data first, without reading any.
func (c killingConn) Read(p []byte) (int, error) {
	n := 0
	c.raw.Read(func(fd uintptr) bool {
		var err error
		n, _, err = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return err != syscall.EAGAIN
	})
	if n > 0 && c.due(beforeRequest) {
		die()
	}
	return c.Conn.Read(p)
}

// interval is the time between two moments.
type interval struct{ from, to time.Time }

func (a interval) overlaps(b interval) bool { return !a.from.After(b.to) && !b.from.After(a.to) }

// loss is a request that got no whole answer.
type loss struct {
	interval
	id       int
	attempts string // of {http.ballast.attempts}, if there was no answer
	backend  string // that of the last attempt
}

// killTest is a pool whose backends are killed, one at a time.
type killTest struct {
	testing.TB
	backends []*backend
	counts   []uint32
	url      string
	client   *http.Client
	next     atomic.Int64  // the id of the next request
	done     chan struct{} // closed when all requests have ended

	everyStage atomic.Bool // a process was killed at each of them

	mu    sync.Mutex
	lost  []loss
	kills [stages][]struct {
		interval
		address string
	}
}

const (
	// killing is how many requests TestKills sends, such as 1000000; 5000 without it.
	killing = "BALLAST_KILLING"
	// moreRequests bounds those that are sent until a process was killed at each stage.
	moreRequests = 200_000
)

// TestKills kills one backend after another at all stages of a request and starts it again, under load of
// which half are POST requests without a key. None of them is received twice, and no request is lost that
// could be sent again: those whose answer has not begun, if they are GET requests, or if the backend
// cannot have received them. The latter is known here of those that did not overlap with the end of a process.
func TestKills(t *testing.T) {
	requests, err := strconv.Atoi(cmp.Or(os.Getenv(killing), "5000"))
	if err != nil {
		t.Fatal(err)
	}
	received := filepath.Join(t.TempDir(), "received")
	if err := os.WriteFile(received, make([]byte, 4*(requests+moreRequests)), 0o600); err != nil {
		t.Fatal(err)
	}
	k := &killTest{TB: t, client: newGetter(t, "", soon, 0).client, done: make(chan struct{})}
	if k.counts, err = mapCounters(received); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		b := &backend{t: t, address: freeAddress(t), env: []string{receivedEnv + "=" + received}}
		b.start()
		t.Cleanup(b.kill)
		k.backends = append(k.backends, b)
	}
	port := freePort(t)
	k.url = fmt.Sprintf("http://127.0.0.1:%d/", port)
	// With as many tries a request does not meet a killed backend each time.
	c := startCaddy(t, "", fmt.Sprintf(`
		:%d {
			bind 127.0.0.1
			reverse_proxy {
				dynamic pool web {
					to %s
					outliers off
					retry 8 {
						backoff 1ms 10ms
					}
				}
			}
			handle_errors {
				header X-Attempts {http.ballast.attempts}
				respond "lost"
			}
		}`, port, addresses(k.backends)))

	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for id := 0; id < requests || !k.everyStage.Load(); {
				if id = int(k.next.Add(1)) - 1; id >= len(k.counts) || t.Failed() {
					return
				}
				k.request(id)
			}
		})
	}
	go func() {
		wg.Wait()
		close(k.done)
	}()
	t.Cleanup(func() { <-k.done }) // of a test that has failed
	for n := 0; k.kill(n % stages); n++ {
		k.everyStage.Store(n+1 >= stages)
	}
	k.check()
	sum := func(name string) (sum float64) {
		for _, n := range c.metric(name) {
			sum += n
		}
		return sum
	}
	retries, resends := sum("retries_total"), sum("resends_total")
	t.Logf("%v attempts were retries, %v requests were sent again on another connection", retries, resends)
	if retries == 0 {
		t.Error("nothing was retried, so nothing was tried")
	}
}

// kill has a backend be killed at a stage, and starts it again. It returns false when the requests have ended.
func (k *killTest) kill(stage int) bool {
	b := k.backends[rand.IntN(len(k.backends))]
	if stage == anyTime {
		<-time.After(rand.N(20 * time.Millisecond))
	}
	ended, began := make(chan struct{}), time.Now()
	go func() {
		b.cmd.Wait()
		close(ended)
	}()
	if stage == anyTime {
		b.cmd.Process.Kill()
	} else {
		fmt.Fprintln(b.stdin, stage)
	}
	select {
	case <-ended:
	case <-k.done:
		b.cmd.Process.Kill()
		<-ended
		return false
	}
	k.kills[stage] = append(k.kills[stage], struct {
		interval
		address string
	}{interval{began, time.Now()}, b.address})
	b.stdin.Close()
	b.start()
	return true
}

// request sends a request: GET, or POST with a body, whose length is not always announced.
func (k *killTest) request(id int) {
	method, size := http.MethodGet, 0
	var body io.Reader
	if post(id) {
		method, size = http.MethodPost, 1+rand.IntN(20_000)
		if body = strings.NewReader(strings.Repeat("x", size)); rand.IntN(2) == 0 {
			body = io.MultiReader(body)
		}
	}
	req, err := http.NewRequest(method, k.url, body)
	if err != nil {
		k.Error(err)
		return
	}
	req.Header.Set("X-Id", strconv.Itoa(id))
	l := loss{id: id, interval: interval{from: time.Now()}}
	res, err := k.client.Do(req)
	if err != nil {
		k.Errorf("%s: %v", method, err)
		return
	}
	defer res.Body.Close()
	name, err := io.ReadAll(res.Body)
	backend := res.Header.Get("X-Backend")
	switch {
	case err == nil && res.StatusCode == http.StatusOK && string(name) == backend && res.Header.Get("X-Body") == strconv.Itoa(size):
		return
	case err != nil && res.StatusCode == http.StatusOK:
		l.backend = backend
	case err == nil && res.StatusCode == http.StatusBadGateway:
		l.attempts = res.Header.Get("X-Attempts")
		last := l.attempts[strings.LastIndex(l.attempts, ",")+1:]
		l.backend = strings.TrimSuffix(last[:max(0, strings.LastIndex(last, ":"))], ":reset")
	default:
		k.Errorf("%s of %d bytes: %d %v %q, %v", method, size, res.StatusCode, res.Header, name, err)
		return
	}
	l.to = time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lost = append(k.lost, l)
}

// post reports whether the request with this id is a POST.
func post(id int) bool { return id%2 == 1 }

// check checks what became of the requests.
func (k *killTest) check() {
	lost := make(map[int]bool)
	var broken, unread int
	for _, l := range k.lost {
		lost[l.id] = true
		switch {
		case l.attempts == "":
			broken++
		case !post(l.id):
			k.Errorf("a GET is lost after the attempts %s", l.attempts)
		case k.counts[l.id] == 0:
			unread++
		}
		if !k.ended(l) {
			k.Errorf("a request is lost on backend %q after the attempts %q, which was not killed meanwhile", l.backend, l.attempts)
		}
	}
	sent := min(int(k.next.Load()), len(k.counts))
	for id, n := range k.counts[:sent] {
		if post(id) && n > 1 {
			k.Errorf("a POST was received %d times", n)
		}
		if n == 0 && !lost[id] {
			k.Error("a request was answered that no backend has received")
		}
	}
	kills := 0
	for stage, list := range k.kills {
		if kills += len(list); len(list) == 0 {
			k.Errorf("no process was killed at stage %d", stage)
		}
	}
	if broken > len(k.kills[inAnswer]) {
		k.Errorf("%d answers broke off, and %d processes were killed in one", broken, len(k.kills[inAnswer]))
	}
	k.Logf("%d requests and %d kills: %d answers broke off; %d POST requests were lost, of which %d had not been read",
		sent, kills, broken, len(k.lost)-broken, unread)
}

// ended reports whether the backend of a loss was killed during the request.
func (k *killTest) ended(l loss) bool {
	for _, list := range k.kills {
		for _, kill := range list {
			if kill.address == l.backend && kill.overlaps(l.interval) {
				return true
			}
		}
	}
	return false
}
