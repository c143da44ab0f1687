// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// gracefulEnv makes a backend restart gracefully: see runGracefulBackend. It holds its name.
const gracefulEnv = "BALLAST_E2E_GRACEFUL"

// lingerEnv makes a graceful backend serve on for a time after SIGTERM, before it ends.
const lingerEnv = "BALLAST_E2E_LINGER"

// runGracefulBackend serves the listener at file descriptor 3 until SIGTERM. Then it accepts no more
// connections, answers each request on those that it has with Connection: close, and ends when there are
// none. It keeps idle connections for as long as it announces.
func runGracefulBackend(name string) {
	l, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		fail(err)
	}
	var ending atomic.Bool
	var open sync.WaitGroup
	handler := backendHandler(name)
	server := &http.Server{
		IdleTimeout:       time.Second,
		ReadHeaderTimeout: 3 * time.Second, // ends connections without any request, too
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Keep-Alive", "timeout=1")
			if ending.Load() {
				w.Header().Set("Connection", "close")
			}
			handler.ServeHTTP(w, r)
		}),
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				open.Add(1)
			case http.StateClosed:
				open.Done()
			}
		},
	}
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	go func() {
		<-terminated
		linger, _ := time.ParseDuration(os.Getenv(lingerEnv))
		<-time.After(linger)
		ending.Store(true)
		l.Close()
	}()
	fmt.Println("listening")
	server.Serve(l)
	open.Wait()
}

// graceful is a backend whose processes take over the listener from each other.
type graceful struct {
	t        testing.TB
	address  string
	listener *os.File
	env      []string // more variables of the processes
	process  *backend // the latest
	n        int      // processes so far
}

// startGraceful starts a backend that ends with the test, with more variables of the environment.
func startGraceful(t testing.TB, env ...string) *graceful {
	t.Helper()
	g := &graceful{t: t, address: freeAddress(t), env: env}
	l, err := net.Listen("tcp", g.address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	// That of TCPListener.File would be made to block when it is given to a process, for all of them.
	fd := 0
	unforked(func() {
		if failed := raw.Control(func(of uintptr) { fd, err = syscall.Dup(int(of)) }); failed != nil || err != nil {
			t.Fatal(failed, err)
		}
		syscall.CloseOnExec(fd)
	})
	g.listener = os.NewFile(uintptr(fd), g.address)
	t.Cleanup(func() { g.listener.Close() })
	g.start()
	return g
}

// start starts a process, which has a name of its own.
func (g *graceful) start() {
	g.t.Helper()
	g.n++
	g.process = &backend{t: g.t, address: g.address, env: append([]string{gracefulEnv + "=" + g.name()}, g.env...), files: []*os.File{g.listener}}
	g.process.start()
	g.t.Cleanup(g.process.kill)
}

// name is that of the latest process.
func (g *graceful) name() string { return fmt.Sprintf("%s/%d", g.address, g.n) }

// restart starts another process, and then ends the one before, which must end well.
func (g *graceful) restart() {
	g.t.Helper()
	old := g.process
	g.start()
	old.signal(syscall.SIGTERM)
	ended := make(chan error, 1)
	go func() { ended <- old.cmd.Wait() }()
	g.t.Cleanup(func() { // before that of start
		select {
		case err := <-ended:
			if err != nil {
				g.t.Errorf("a process of %s ended: %v", g.address, err)
			}
		case <-time.After(soon):
			g.t.Errorf("a process of %s has not ended within %v", g.address, soon)
			old.cmd.Process.Kill()
			<-ended
		}
	})
}

// TestGracefulRestart restarts one backend after another gracefully, under load of which half are POST
// requests with a body, which nothing may repeat. No request may fail, without any retries.
func TestGracefulRestart(t *testing.T) {
	var backends []*graceful
	to := ""
	for range 3 {
		backends = append(backends, startGraceful(t))
		to += " " + backends[len(backends)-1].address
	}
	port := freePort(t)
	c := startCaddy(t, "", poolSite(port, "to"+to, ""))
	l := startHalfPosts(t, fmt.Sprintf("http://127.0.0.1:%d/", port), "X-Number")
	for range 2 {
		for _, g := range backends {
			l.more(150)
			g.restart()
			eventually(t, "the new process answers", func() bool { return l.counts()[g.name()] > 0 })
		}
	}
	l.more(2 * loadRate) // the last connections of the last process are idle for long
	l.stop()
	l.mustNotFail()
	for _, g := range backends {
		if n := c.metric("retries_total")[g.address]; n != 0 {
			t.Errorf("%v requests to %s were retried", n, g.address)
		}
	}
}
