// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// workCommand has this program be the backends, in a process of their own.
	workCommand = "work"

	backendCount = 3
	workers      = 10
	workTime     = 50 * time.Millisecond
	// capacity is what they can answer a second.
	capacity = backendCount * workers * int(time.Second) / int(workTime)
)

// crew is a backend: who finds all workers busy waits for one, until the client
// leaves.
type crew struct {
	workers    chan struct{}
	busy, peak atomic.Int64 // requests, also those that wait
}

// ServeHTTP implements [http.Handler].
func (c *crew) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := c.busy.Add(1)
	defer c.busy.Add(-1)
	for peak := c.peak.Load(); n > peak && !c.peak.CompareAndSwap(peak, n); peak = c.peak.Load() {
	}
	select {
	case c.workers <- struct{}{}:
		defer func() { <-c.workers }()
	case <-r.Context().Done():
		return
	}
	time.Sleep(workTime) // who works does not see that the client is gone
	_, _ = io.WriteString(w, "hello\n")
}

// work is the process of the backends. It prints their addresses, and one that says
// what they have counted, and ends with its standard input.
func work() {
	var crews [backendCount]*crew
	for i := range crews {
		crews[i] = &crew{workers: make(chan struct{}, workers)}
		serve(crews[i])
	}
	serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		var peak, busy int64
		for _, c := range crews {
			peak = max(peak, c.peak.Swap(0))
			busy += c.busy.Load()
		}
		fmt.Fprintln(w, peak, busy)
	}))
	fmt.Println()
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func serve(h http.Handler) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Print(l.Addr(), " ")
	go func() { _ = http.Serve(l, h) }()
}

// backends is that process, seen from outside.
type backends struct {
	addresses []string
	control   string
	cmd       *exec.Cmd
	stdin     io.Closer
}

func startBackends() (*backends, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	b := &backends{cmd: exec.Command(self, workCommand)}
	b.cmd.Stderr = os.Stderr
	stdout, err1 := b.cmd.StdoutPipe()
	stdin, err2 := b.cmd.StdinPipe()
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	b.stdin = stdin
	if err := b.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	all := strings.Fields(line)
	if err != nil || len(all) != backendCount+1 {
		b.stop()
		return nil, fmt.Errorf("the backends say %q: %w", line, err)
	}
	b.addresses, b.control = all[:backendCount], all[backendCount]
	return b, nil
}

func (b *backends) stop() {
	b.stdin.Close()
	_ = b.cmd.Wait()
}

// counts returns the most requests that one backend has had at a time since it was
// last asked, and how many all have now.
func (b *backends) counts() (peak, busy int, err error) {
	res, err := http.Get("http://" + b.control)
	if err != nil {
		return 0, 0, err
	}
	defer res.Body.Close()
	_, err = fmt.Fscan(res.Body, &peak, &busy)
	return peak, busy, err
}

// rest waits until they have nothing to do.
func (b *backends) rest() error {
	const soon = 30 * time.Second
	for deadline := time.Now().Add(soon); ; time.Sleep(100 * time.Millisecond) {
		_, busy, err := b.counts()
		switch {
		case err != nil:
			return err
		case busy == 0:
			time.Sleep(300 * time.Millisecond) // connections are being closed still
			_, _, err := b.counts()
			return err
		case time.Now().After(deadline):
			return fmt.Errorf("the backends have %d requests, %v after the last client has left", busy, soon)
		}
	}
}
