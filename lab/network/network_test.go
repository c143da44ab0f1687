// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package network

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

const helperVariable = "BALLAST_LAB_NETWORK_HELPER"

func TestMain(m *testing.M) {
	if mode := os.Getenv(helperVariable); mode != "" {
		if err := help(mode); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// help creates a network with a process on it, prints a line, and ends in one of several ways.
func help(mode string) error {
	t := Topology{Clients: make([]Host, 1), Backends: []Host{{CPU: 0.2, Rate: 10_000_000}}}
	return Run(context.Background(), t, func(ctx context.Context, n *Network) error {
		c := n.Host("backend1").Command("sleep", "1000")
		c.Stderr = os.Stderr // so that the test's pipe ends with the process
		if err := c.Start(); err != nil {
			return err
		}
		guard := 0
		if n.guard != nil {
			guard = n.guard.Process.Pid
		}
		fmt.Println(n.id, n.namespaced, guard)
		switch mode {
		case "panic":
			go panic("on purpose")
		case "panic in f":
			panic("on purpose")
		case "error":
			return errors.New("on purpose")
		case "return":
			return nil
		}
		<-ctx.Done()
		return nil
	})
}

// helper is a process with a network.
type helper struct {
	cmd        *exec.Cmd
	stderr     bytes.Buffer
	id         string
	namespaced bool
	guard      int
}

func startHelper(t *testing.T, mode string) *helper {
	t.Helper()
	h := &helper{cmd: exec.Command(os.Args[0])}
	h.cmd.Env = append(os.Environ(), helperVariable+"="+mode)
	h.cmd.Stderr = &h.stderr
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if f := strings.Fields(line); err == nil && len(f) == 3 {
		h.id, h.namespaced = f[0], f[1] == "true"
		h.guard, _ = strconv.Atoi(f[2])
		return h
	}
	_ = h.cmd.Process.Kill()
	_ = h.cmd.Wait()
	t.Fatalf("the helper says %q (%v): %s", line, err, h.stderr.String())
	return nil
}

// left returns the remaining namespaces and groups of its network.
func (h *helper) left() []string {
	namespaces, groups := matching(func(name string) bool { return strings.HasPrefix(name, h.id) })
	return append(namespaces, groups...)
}

// When a process ends for any reason, its network and the processes on it are removed. The test
// waits for the end of the standard error, which all these processes share.
func TestNetworkIsRemoved(t *testing.T) {
	for mode, signal := range map[string]os.Signal{
		"return": nil, "error": nil, "panic": nil, "panic in f": nil,
		"interrupt": os.Interrupt, "terminate": syscall.SIGTERM, "hang up": syscall.SIGHUP, "kill": os.Kill,
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			h := startHelper(t, mode)
			if signal != nil {
				if left := h.left(); h.namespaced != (len(left) >= 4) { // switch, balancer, client, backend
					t.Errorf("namespaces %v: during the run there are %v", h.namespaced, left)
				}
				if err := h.cmd.Process.Signal(signal); err != nil {
					t.Fatal(err)
				}
			}
			_ = h.cmd.Wait()
			if left := h.left(); len(left) > 0 {
				t.Errorf("%v are left: %s", left, h.stderr.String())
			}
			if strings.HasPrefix(mode, "panic") != strings.Contains(h.stderr.String(), "panic: on purpose") {
				t.Errorf("the helper printed %s", h.stderr.String())
			}
		})
	}
}

// If the guard is killed together with its process, the next start removes the network.
func TestLeftoversAreRemoved(t *testing.T) {
	h := startHelper(t, "wait")
	if h.guard != 0 {
		if err := syscall.Kill(h.guard, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	// After the helper is killed, only the start of another network removes these.
	if left := h.left(); h.namespaced != (len(left) > 0) {
		t.Fatalf("namespaces %v: there are %v", h.namespaced, left)
	}
	if err := h.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = h.cmd.Wait()
	n, err := Start(Topology{})
	if err != nil {
		t.Fatal(err)
	}
	if left := h.left(); len(left) > 0 {
		t.Errorf("the next start leaves %v", left)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

// A network does not remove those of other running processes.
func TestNetworksOfOtherProcessesStay(t *testing.T) {
	h := startHelper(t, "wait")
	before := h.left()
	n, err := Start(Topology{})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if after := h.left(); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("%v remain of %v", after, before)
	}
	_ = h.cmd.Process.Signal(os.Interrupt)
	_ = h.cmd.Wait()
}

// Hosts reach each other at their addresses, and accept connections from the addresses of their
// peers.
func TestHostsAreConnected(t *testing.T) {
	for _, loopback := range []bool{false, true} {
		testConnected(t, loopback)
	}
}

func testConnected(t *testing.T, loopback bool) {
	n, err := Start(Topology{Clients: make([]Host, 1), Backends: []Host{{CPU: 0.5, Rate: 100_000_000}}, Loopback: loopback})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	t.Log(n.Notes())
	if loopback && n.Namespaced() {
		t.Error("there are namespaces")
	}
	client, backend := n.Host("client1"), n.Host("backend1")
	l, err := backend.Listen("tcp", backend.Address+":0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		io.WriteString(c, c.RemoteAddr().String())
		c.Close()
	}()
	c, err := client.Dial(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	seen, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(seen), client.Address+":") {
		t.Errorf("the remote address is %q (%v), want %s", seen, err, client.Address)
	}
	c.Close()
	l.Close()

	out, err := backend.Command("cat", "/proc/self/cgroup").Output()
	if err != nil || n.Namespaced() && backend.MissingCPU == 0 && !strings.Contains(string(out), n.id+"backend1") {
		t.Errorf("a command on the host is in the control groups %q (%v)", out, err)
	}
	if n.Namespaced() {
		out, err := client.Command("ip", "-o", "addr").Output()
		if err != nil || !strings.Contains(string(out), client.Address) || strings.Contains(string(out), backend.Address) {
			t.Errorf("a command on the client has the output %q (%v)", out, err)
		}
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if names, groups := matching(func(name string) bool { return strings.HasPrefix(name, n.id) }); len(names)+len(groups) > 0 {
		t.Errorf("%v %v are left", names, groups)
	}
}
