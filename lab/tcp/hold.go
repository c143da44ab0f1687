// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"time"

	"github.com/ballast-lb/caddy-ballast/lab/machine"
	"github.com/ballast-lb/caddy-ballast/lab/testbed"
)

// holdAll measures the memory of idle connections, one balancer after the other.
func (c *comparison) holdAll() error {
	node := c.network.Backends()[0]
	address, err := testbed.Address(c.network, node)
	if err != nil {
		return err
	}
	l, err := node.Listen("tcp", address)
	if err != nil {
		return err
	}
	defer l.Close()
	go echo(l)
	running, err := c.start(address)
	if err != nil {
		return err
	}
	defer stop(running)
	fmt.Printf("\n%d idle connections, each after one byte that was sent back\n", c.connections)
	for _, b := range running {
		before := machine.ResidentMemory(b.process.Pid())
		if err := hold(b.address, c.connections, func() {
			after := machine.ResidentMemory(b.process.Pid())
			fmt.Printf("%-18s %.1f KB for each connection (%d MB, before %d MB)\n", b.name, float64(after-before)/float64(c.connections)/1000, after>>20, before>>20)
		}); err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
	}
	return nil
}

// echo echoes each byte, until the listener is closed. The clients close their connections.
func echo(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			var one [1]byte
			for {
				if _, err := c.Read(one[:]); err != nil {
					return
				}
				if _, err := c.Write(one[:]); err != nil {
					return
				}
			}
		}()
	}
}

// hold opens n connections, calls idle once memory has settled, and closes them.
func hold(address string, n int, idle func()) error {
	conns := make([]net.Conn, 0, n)
	defer func() {
		for _, c := range conns {
			c.Close()
		}
		time.Sleep(2 * time.Second) // until the balancer has closed its sides
	}()
	for range n {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return err
		}
		conns = append(conns, c)
		if _, err := c.Write([]byte{1}); err != nil {
			return err
		}
		var one [1]byte
		if _, err := c.Read(one[:]); err != nil {
			return err
		}
	}
	time.Sleep(3 * time.Second)
	idle()
	return nil
}
