// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package testbed runs balancers and backends on the hosts of a test network.
package testbed

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"

	"github.com/ballast-lb/caddy-ballast/lab/network"
)

// startTimeout is how long a process may take until it listens.
const startTimeout = 30 * time.Second

// Process is a running program. It is safe for concurrent use.
type Process struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

// StartProcess starts a command of the host, with its output in a log file, and returns when all
// addresses accept connections.
func StartProcess(node *network.Node, c *exec.Cmd, log string, addresses ...string) (*Process, error) {
	file, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if c.Stdout == nil {
		c.Stdout = file
	}
	c.Stderr = file
	if err := c.Start(); err != nil {
		return nil, err
	}
	p := &Process{cmd: c, ended: make(chan struct{})}
	go func() {
		_ = c.Wait()
		close(p.ended)
	}()
	for _, a := range addresses {
		if err := p.awaitListener(node, a); err != nil {
			p.Kill()
			said, _ := os.ReadFile(log)
			return nil, fmt.Errorf("nothing listens at %s: %w: %s", a, err, said)
		}
	}
	return p, nil
}

func (p *Process) awaitListener(node *network.Node, address string) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for {
		c, err := node.Dial(ctx, "tcp", address)
		if err == nil {
			return c.Close()
		}
		select {
		case <-p.ended:
			return fmt.Errorf("the process has ended: %v", p.cmd.ProcessState)
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Pid returns the process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Kill ends the process at once, and returns when it has ended.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// Address returns an address of the host to listen at: with [Port] in a namespace, with a free port on
// loopback.
func Address(n *network.Network, node *network.Node) (string, error) {
	if n.Namespaced() {
		return fmt.Sprintf("%s:%d", node.Host.Address, Port), nil
	}
	l, err := net.Listen("tcp", node.Host.Address+":0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
