// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisServer is the program that the tests named TestRedis run: Redis, or Valkey if there is no
// Redis.
var redisServer string

func TestMain(m *testing.M) {
	flag.Parse()
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil && redisServer == "" {
			redisServer = path
		}
	}
	if redisServer == "" {
		fmt.Println("no redis-server: the tests with one are left out; its package is redis-server")
		if err := flag.Set("test.skip", "^TestRedis"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// soon is how long a test waits for what should come at once. It is long because the machine may
// be busy.
const soon = 20 * time.Second

// eventually waits until cond holds, or fails the test.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	within(t, soon, what, cond)
}

// within is eventually with a bound that is part of a claim.
func within(t testing.TB, bound time.Duration, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(bound); !cond(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", bound, what)
		}
	}
}

// freePort returns a port that nobody listens on, below those of outgoing connections.
func freePort(t testing.TB) string {
	t.Helper()
	for range 1000 {
		port := strconv.Itoa(20000 + rand.IntN(10000))
		if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return ""
}

// server is a process of Redis with a folder and a port of its own.
type server struct {
	t       testing.TB
	port    string
	address string
	dir     string
	args    []string
	cmd     *exec.Cmd
	ended   chan struct{}
	stopped bool // by SIGSTOP
}

// startServer starts Redis until the test ends. It saves nothing to disk. PORT in an argument is its
// port.
func startServer(t testing.TB, args ...string) *server {
	t.Helper()
	port := freePort(t)
	s := &server{t: t, port: port, address: "127.0.0.1:" + port, dir: t.TempDir()}
	s.args = append([]string{
		"--port", port, "--bind", "127.0.0.1", "--dir", s.dir, "--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0",
	}, args...)
	for i, arg := range s.args {
		s.args[i] = strings.ReplaceAll(arg, "PORT", port)
	}
	s.start()
	t.Cleanup(s.kill)
	return s
}

// start starts the process, again after kill.
func (s *server) start() {
	s.t.Helper()
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	s.cmd, s.ended, s.stopped = exec.Command(redisServer, s.args...), make(chan struct{}), false
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // it ends with the tests
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func(cmd *exec.Cmd, ended chan struct{}) {
		defer close(ended)
		_ = cmd.Wait()
	}(s.cmd, s.ended)
	eventually(s.t, "Redis answers", func() bool {
		select {
		case <-s.ended:
			log, _ := os.ReadFile(log.Name())
			s.t.Fatalf("Redis did not start: %s", log)
		default:
		}
		conn, err := net.DialTimeout("tcp", s.address, time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// kill ends the process with SIGKILL. It may be called again.
func (s *server) kill() {
	if s.stopped {
		s.signal(syscall.SIGCONT)
	}
	_ = s.cmd.Process.Kill()
	<-s.ended
}

// hang stops the process from doing anything; its kernel still accepts connections.
func (s *server) hang()   { s.signal(syscall.SIGSTOP) }
func (s *server) resume() { s.signal(syscall.SIGCONT) }

func (s *server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Fatal(err)
	}
	s.stopped = sig == syscall.SIGSTOP
}

// do runs a command as an operator would, and returns its reply.
func (s *server) do(args ...any) any {
	s.t.Helper()
	reply, err := s.try(args...)
	if err != nil {
		s.t.Fatalf("%v: %v", args, err)
	}
	return reply
}

func (s *server) try(args ...any) (any, error) {
	admin := redis.NewClient(&redis.Options{Addr: s.address, Protocol: 2, MaxRetries: -1})
	defer admin.Close()
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	reply, err := admin.Do(ctx, args...).Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	return reply, err
}

// int returns the reply of a command that is a number.
func (s *server) int(args ...any) int {
	s.t.Helper()
	n, _ := s.do(args...).(int64)
	return int(n)
}

// info returns a field of INFO.
func (s *server) info(section, field string) string {
	s.t.Helper()
	text, _ := s.do("INFO", section).(string)
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	s.t.Fatalf("INFO %s has no %s", section, field)
	return ""
}

// connections returns how many connections there are but that of the operator.
func (s *server) connections() int {
	s.t.Helper()
	n, err := strconv.Atoi(s.info("clients", "connected_clients"))
	if err != nil {
		s.t.Fatal(err)
	}
	return n - 1
}
