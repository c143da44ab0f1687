// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package network creates test networks on one machine. As root on Linux each host is a network
// namespace, joined to a bridge by a veth pair, with a limited share of CPU time, a rated link and
// a delay. Elsewhere the hosts are loopback addresses without limits; [Network.Notes] says so.
//
// A network is removed when it is closed, and also when its process is interrupted, panics or is
// killed. If its guard is killed too, the next start of a network removes it.
package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Network is a running test network. It is safe for concurrent use, except that commands on its hosts
// are started before it is closed.
type Network struct {
	id         string
	namespaced bool
	nodes      map[string]*Node
	order      []*Node // the balancer, clients, backends
	clients    int
	notes      []string

	guard *exec.Cmd      // removes the network at the end of its input
	input io.WriteCloser // ends with this process
	once  sync.Once
	err   error

	mu       sync.Mutex
	commands []*exec.Cmd // to kill, on loopback
}

// Node is a host of a running network.
type Node struct {
	// Host is its description with the defaults. On loopback its address is the effective one.
	Host
	// MissingCPU and MissingDelay are the CPU share and the delay that the network could not
	// impose, so that programs on the host must simulate them; 0 for none.
	MissingCPU   float64
	MissingDelay time.Duration

	network *Network
	group   string // folder of the control group; "" without a limit
}

var networks atomic.Int64

// Start creates a network, after it has removed [Leftovers]. The caller must close it. If
// namespaces cannot be created, the hosts are on loopback.
func Start(t Topology) (*Network, error) {
	hosts, err := t.hosts()
	if err != nil {
		return nil, err
	}
	n := &Network{id: fmt.Sprintf("%s%d-", owner(os.Getpid()), networks.Add(1)), nodes: make(map[string]*Node), clients: len(t.Clients)}
	for _, h := range hosts {
		node := &Node{Host: h, network: n}
		n.nodes[h.Name] = node
		n.order = append(n.order, node)
	}
	removeLeftovers()
	reason := missing()
	if t.Loopback {
		reason = "loopback was asked for"
	}
	if reason != "" {
		n.toLoopback(reason)
		return n, nil
	}
	if err := n.startGuard(); err != nil {
		return nil, err
	}
	if err := run(switchCommands(n.id)); err != nil { // such as in an unprivileged container
		_ = n.Close()
		n = &Network{id: n.id, nodes: n.nodes, order: n.order, clients: n.clients}
		for _, node := range n.order {
			node.network = n
		}
		n.toLoopback(err.Error())
		return n, nil
	}
	n.namespaced = true
	if err := n.join(); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// Run creates a network, calls f, and removes the network when f returns, panics, or the process
// gets SIGINT, SIGTERM or SIGHUP. Such a signal ends ctx; f should then return.
func Run(ctx context.Context, t Topology, f func(ctx context.Context, n *Network) error) (err error) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	n, err := Start(t)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	if err := f(ctx, n); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// missing returns why namespaces cannot be created, or "".
func missing() string {
	if loopbackNetwork == "" {
		return "network namespaces need Linux"
	}
	if os.Geteuid() != 0 {
		return "network namespaces need root"
	}
	for _, tool := range []string{"ip", "tc"} {
		if _, err := lookPath(tool); err != nil {
			return "there is no " + tool + " here (Debian's package iproute2)"
		}
	}
	return ""
}

func (n *Network) toLoopback(reason string) {
	n.notes = append(n.notes, "Hosts are loopback addresses of one machine, without link rates, and programs imitate CPU shares "+
		"and delays: "+reason+".")
	for _, node := range n.order {
		node.MissingCPU, node.MissingDelay = node.CPU, node.Delay
		if loopbackNetwork == "" {
			node.Address = "127.0.0.1"
		} else {
			node.Address = loopbackNetwork + strings.TrimPrefix(node.Address, "10.77")
		}
	}
}

// join creates the hosts and their limits.
func (n *Network) join() error {
	probe := []string{"tc", "-n", n.id + switchName, "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"}
	netem := run([][]string{probe}) == nil
	cpu, cpuErr := machineController()
	var delayed, limited bool
	for i, node := range n.order {
		if err := run(hostCommands(n.id, i, node.Host, netem)); err != nil {
			return err
		}
		if node.Delay > 0 && !netem {
			node.MissingDelay, delayed = node.Delay, true
		}
		if node.CPU == 0 {
			continue
		}
		err := cpuErr
		if err == nil {
			node.group, err = cpu.make(n.id+node.Name, node.CPU)
		}
		if err != nil {
			cpuErr = err
			node.MissingCPU, limited = node.CPU, true
		}
	}
	n.notes = append(n.notes, "Hosts are network namespaces, joined by veth pairs and a bridge.")
	switch {
	case limited:
		n.notes = append(n.notes, fmt.Sprintf("CPU shares are imitated by the programs: %v.", cpuErr))
	case cpuErr == nil:
		n.notes = append(n.notes, fmt.Sprintf("CPU shares are limits of control groups, version %d.", cpu.version))
	}
	if delayed {
		n.notes = append(n.notes, "This kernel has no netem: the programs wait for delays themselves.")
	}
	return nil
}

// startGuard starts the process that removes the network when this process ends for any reason.
func (n *Network) startGuard() error {
	namespaces, groups := []string{n.id + switchName}, []string(nil)
	cpu, err := machineController()
	for _, node := range n.order {
		namespaces = append(namespaces, n.id+node.Name)
		if err == nil && node.CPU > 0 {
			groups = append(groups, cpu.root+"/"+n.id+node.Name)
		}
	}
	n.guard = exec.Command("sh", "-c", "trap '' INT TERM HUP\nread -r _\n"+cleanupScript(namespaces, groups, os.Getpid()))
	n.guard.Env = environment()
	n.guard.Stderr = os.Stderr
	n.guard.SysProcAttr = ownSession()
	input, err := n.guard.StdinPipe()
	if err != nil {
		return err
	}
	n.input = input
	return n.guard.Start()
}

// Close kills all processes on the hosts and removes the network. Later calls return the error of the first.
func (n *Network) Close() error {
	n.once.Do(func() {
		n.mu.Lock()
		for _, c := range n.commands {
			if c.Process != nil {
				_ = c.Process.Kill()
			}
		}
		n.mu.Unlock()
		if n.guard == nil {
			return
		}
		n.input.Close()
		n.err = n.guard.Wait()
		names, groups := matching(func(name string) bool { return strings.HasPrefix(name, n.id) })
		if left := slices.Concat(names, groups); len(left) > 0 {
			n.err = errors.Join(n.err, fmt.Errorf("cannot remove %v", left))
		}
	})
	return n.err
}

// Namespaced reports whether hosts are namespaces, rather than loopback addresses.
func (n *Network) Namespaced() bool { return n.namespaced }

// Notes returns sentences on the implementation of the network on this machine, and its
// limitations.
func (n *Network) Notes() []string { return n.notes }

// Host returns the host with a name, or nil.
func (n *Network) Host(name string) *Node { return n.nodes[name] }

// Clients returns the hosts of the clients, in the order of the topology.
func (n *Network) Clients() []*Node { return n.order[1 : 1+n.clients] }

// Balancer returns the host of the balancer.
func (n *Network) Balancer() *Node { return n.order[0] }

// Backends returns the hosts of the backends, in the order of the topology.
func (n *Network) Backends() []*Node { return n.order[1+n.clients:] }

// Command returns a command that runs on the host, within its share of CPU time. The process is
// killed when the network is closed, and when this process ends. Its path is that of a wrapper,
// which execs the program, so the process id is the program's.
func (h *Node) Command(path string, args ...string) *exec.Cmd {
	full := append([]string{path}, args...)
	if h.network.namespaced {
		full = append([]string{"ip", "netns", "exec", h.network.id + h.Name}, full...)
	}
	if h.group != "" {
		full = append([]string{"sh", "-c", `echo $$ > "$0" && exec "$@"`, h.group + "/cgroup.procs"}, full...)
	}
	if found, err := lookPath(full[0]); err == nil {
		full[0] = found
	}
	c := exec.Command(full[0], full[1:]...)
	c.Env = environment()
	c.SysProcAttr = dieWithParent()
	h.network.mu.Lock()
	h.network.commands = append(h.network.commands, c)
	h.network.mu.Unlock()
	return c
}

// Dial connects from the host to an address.
func (h *Node) Dial(ctx context.Context, network, address string) (c net.Conn, err error) {
	d := net.Dialer{}
	if !h.network.namespaced {
		if loopbackNetwork != "" {
			d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(h.Address)}
		}
		return d.DialContext(ctx, network, address)
	}
	err = inNamespace(h.network.id+h.Name, func() (err error) {
		c, err = d.DialContext(ctx, network, address)
		return err
	})
	return c, err
}

// Listen listens on the host, at an address such as "10.77.0.1:80".
func (h *Node) Listen(network, address string) (l net.Listener, err error) {
	if !h.network.namespaced {
		return net.Listen(network, address)
	}
	err = inNamespace(h.network.id+h.Name, func() (err error) {
		l, err = net.Listen(network, address)
		return err
	})
	return l, err
}
