// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// kind is a proxy with a configuration, see kinds.
type kind struct {
	name string
	// path is where the program is; "" for that of Caddy.
	path string
	// file is what its configuration is called, and args how it is told of it.
	file string
	args func(file string) []string
	// config returns the configuration for an address to listen at.
	config func(address, dir string, backends []string) string
}

// proxy is the process of one.
type proxy struct {
	name    string
	address string
	cmd     *exec.Cmd
	ended   chan struct{}
}

// start runs one, and returns when it listens. The error of one that is not installed
// is [exec.ErrNotFound].
func start(k kind, caddy, dir string, backends []string) (*proxy, error) {
	path := caddy
	if k.path != "" {
		var err error
		if path, err = find(k.path); err != nil {
			return nil, err
		}
	}
	dir, err := os.MkdirTemp(dir, "proxy-")
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, k.file)
	if err := os.WriteFile(file, []byte(k.config(address, dir, backends)), 0o600); err != nil {
		return nil, err
	}
	p := &proxy{name: k.name, address: address, cmd: exec.Command(path, k.args(file)...), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd.Stdout, p.cmd.Stderr = log, log // a file, as services have theirs
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			return p, nil
		}
		select {
		case <-p.ended:
			err = errors.New("it has ended")
		default:
			err = nil
		}
		if err != nil || time.Now().After(deadline) {
			p.stop()
			said, _ := os.ReadFile(log.Name())
			return nil, fmt.Errorf("it does not listen: %s", said)
		}
	}
}

// find looks in folders, too, that are not in everybody's PATH.
func find(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + name)
	}
	if err != nil {
		return "", fmt.Errorf("there is no %s here: %w", name, exec.ErrNotFound)
	}
	return path, nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func (p *proxy) pid() int { return p.cmd.Process.Pid }

func (p *proxy) stop() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}
