// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// backendEnv makes a process of this test binary a backend at the address it
// holds: host:port, or the path of a unix socket.
const backendEnv = "BALLAST_E2E_BACKEND"

// runBackend serves until its standard input ends, which it does when the test dies.
func runBackend(address string) {
	switch {
	case os.Getenv(gracefulEnv) != "":
		runGracefulBackend(os.Getenv(gracefulEnv))
		return
	case os.Getenv(receivedEnv) != "":
		runKilledBackend(address, os.Getenv(receivedEnv))
		return
	}
	l := listen(address)
	fmt.Println("listening")
	go http.Serve(l, backendHandler(address))
	io.Copy(io.Discard, os.Stdin)
}

// backendHandler answers every request with a name, and in X-Body the length of the body.
func backendHandler(name string) http.Handler {
	var health atomic.Int64
	health.Store(http.StatusOK)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Body", strconv.FormatInt(n, 10))
		w.Header().Set("X-Backend", name)
		io.WriteString(w, name)
	})
	mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(health.Load())) })
	mux.HandleFunc("/set-health/{status}", func(_ http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(r.PathValue("status"))
		health.Store(int64(status))
	})
	return mux
}

// listen listens at the address, or ends the process.
func listen(address string) net.Listener {
	network := "tcp"
	if strings.HasPrefix(address, "/") {
		network = "unix"
	}
	l, err := net.Listen(network, address)
	if err != nil {
		fail(err)
	}
	return l
}

// fail ends the process of a backend.
func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// backend is a backend in a process of its own.
type backend struct {
	t       testing.TB
	address string
	env     []string   // more variables
	files   []*os.File // more of them, from file descriptor 3
	cmd     *exec.Cmd
	stdin   io.WriteCloser
}

// startBackend starts a backend that ends with the test.
func startBackend(t testing.TB, address string) *backend {
	t.Helper()
	b := &backend{t: t, address: address}
	b.start()
	t.Cleanup(b.kill)
	return b
}

// startBackends starts backends at free addresses.
func startBackends(t testing.TB, n int) (all []*backend) {
	t.Helper()
	for range n {
		all = append(all, startBackend(t, freeAddress(t)))
	}
	return all
}

// addresses returns the addresses of backends, for a Caddyfile.
func addresses(all []*backend) string {
	var list []string
	for _, b := range all {
		list = append(list, b.address)
	}
	return strings.Join(list, " ")
}

// start starts the process, again after kill.
func (b *backend) start() {
	b.t.Helper()
	self, err := os.Executable()
	if err != nil {
		b.t.Fatal(err)
	}
	b.cmd = exec.Command(self)
	b.cmd.Env = append(append(os.Environ(), backendEnv+"="+b.address), b.env...)
	b.cmd.ExtraFiles = b.files
	b.cmd.Stderr = os.Stderr
	stdout, err1 := b.cmd.StdoutPipe()
	stdin, err2 := b.cmd.StdinPipe()
	if err1 != nil || err2 != nil {
		b.t.Fatal(err1, err2)
	}
	b.stdin = stdin
	if err := b.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		b.t.Fatalf("backend %s: %q, %v", b.address, line, err)
	}
}

// kill ends the process with SIGKILL. It may be called again.
func (b *backend) kill() {
	if b.cmd.ProcessState != nil {
		return
	}
	b.cmd.Process.Kill()
	b.cmd.Wait()
	b.stdin.Close()
}

// hang stops the process from doing anything; its kernel still accepts
// connections. resume undoes it.
func (b *backend) hang()   { b.signal(syscall.SIGSTOP) }
func (b *backend) resume() { b.signal(syscall.SIGCONT) }

func (b *backend) signal(s syscall.Signal) {
	b.t.Helper()
	if err := b.cmd.Process.Signal(s); err != nil {
		b.t.Fatal(err)
	}
}

// setHealth sets the status that the backend answers health checks with.
func (b *backend) setHealth(status int) {
	b.t.Helper()
	res, err := http.Get(fmt.Sprintf("http://%s/set-health/%d", b.address, status))
	if err != nil {
		b.t.Fatal(err)
	}
	res.Body.Close()
}
