// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/ballast-lb/caddy-ballast/lab/network"
)

// Backend is a server on a host of a test network, in its own process. It is safe for concurrent
// use.
type Backend struct {
	config ServerConfig
	node   *network.Node
	dir    string

	mu      sync.Mutex
	process *Process // nil while it is down
	input   io.WriteCloser
	output  *bufio.Reader
}

// StartBackend starts a backend. It simulates the limits that the network cannot impose on the
// host. The name and the address of c default to those of the host.
func StartBackend(n *network.Network, node *network.Node, dir string, c ServerConfig) (*Backend, error) {
	if c.Name == "" {
		c.Name = node.Name
	}
	if c.Address == "" {
		var err error
		if c.Address, err = Address(n, node); err != nil {
			return nil, err
		}
	}
	c.CPU = node.MissingCPU
	c.Delay += 2 * node.MissingDelay // both directions
	b := &Backend{config: c, node: node, dir: dir}
	return b, b.Start()
}

// Name returns the name of the backend.
func (b *Backend) Name() string { return b.config.Name }

// Address returns where the backend listens.
func (b *Backend) Address() string { return b.config.Address }

// Start starts the backend again after [Backend.Kill].
func (b *Backend) Start() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	config, err := json.Marshal(b.config)
	if err != nil {
		return err
	}
	c := b.node.Command(self)
	c.Env = append(c.Env, serverCommand+"="+string(config))
	in, err := c.StdinPipe()
	if err != nil {
		return err
	}
	// Not StdoutPipe: Wait would close it while it is read.
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer write.Close()
	c.Stdout = write
	p, err := StartProcess(b.node, c, filepath.Join(b.dir, b.config.Name+".log"), b.config.Address)
	if err != nil {
		read.Close()
		return err
	}
	b.process, b.input, b.output = p, in, bufio.NewReader(read)
	return nil
}

// Kill ends the process. Connections are reset and new ones are refused.
func (b *Backend) Kill() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.process != nil {
		b.process.Kill()
		b.process = nil
	}
}

// Set changes the behavior.
func (b *Backend) Set(behavior Behavior) error {
	line, err := json.Marshal(behavior)
	if err != nil {
		return err
	}
	_, err = b.ask(string(line))
	return err
}

// Behavior returns the initial behavior.
func (b *Backend) Behavior() Behavior { return b.config.Behavior }

// Counts returns the counts since the start of the process.
func (b *Backend) Counts() (Counts, error) { return b.ask("") }

// Pid returns the process id, 0 while the backend is down.
func (b *Backend) Pid() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.process == nil {
		return 0
	}
	return b.process.Pid()
}

func (b *Backend) ask(line string) (c Counts, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.process == nil {
		return c, fmt.Errorf("the backend %s is down", b.config.Name)
	}
	if _, err := io.WriteString(b.input, line+"\n"); err != nil {
		return c, err
	}
	answer, err := b.output.ReadBytes('\n')
	if err != nil {
		return c, fmt.Errorf("the backend %s: %w", b.config.Name, err)
	}
	return c, json.Unmarshal(answer, &c)
}
