// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Command tcp compares balance of Ballast, the proxy of caddy-l4 and HAProxy's mode tcp, round by round:
// the throughput and latency of redis-benchmark and of pgbench, and the memory of idle connections.
//
//	make tcp POSTGRES=127.0.0.1:5432
//
// PostgreSQL runs already, trusts the user postgres, and has the tables of pgbench -i. Without -postgres it
// is left out, and so is whatever program is missing. All share the CPUs of this machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/ballast-lb/caddy-ballast/lab/machine"
	"github.com/ballast-lb/caddy-ballast/lab/testbed"
)

type options struct {
	caddy, postgres     string
	rounds, connections int
}

func main() { testbed.RunProgram("tcp", parse, run) }

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("tcp", flag.ContinueOnError)
	f.StringVar(&o.caddy, "caddy", "", "a Caddy with Ballast and balance")
	f.StringVar(&o.postgres, "postgres", "", "the address of a PostgreSQL; default: none")
	f.IntVar(&o.rounds, "rounds", 9, "rounds of the comparison; 0 for none")
	f.IntVar(&o.connections, "connections", 10_000, "idle connections; 0 for none")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 || o.caddy == "" || o.rounds < 0 || o.connections < 0 {
		return o, errors.New("-caddy is a Caddy with balance, numbers are not negative, and there are no arguments but flags")
	}
	return o, nil
}

// reserve is how many files a process has open besides connections, and mostConnections how many HAProxy is
// configured for.
const reserve, mostConnections = 600, 9700

// run makes all measurements.
func run(ctx context.Context, o options) (passed bool, err error) {
	dir, err := os.MkdirTemp("", "ballast-tcp-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	// Each connection has two ends in a balancer, and in this process.
	limit := int(machine.OpenFiles(uint64(2*max(o.connections, mostConnections) + reserve)))
	o.connections = min(o.connections, (limit-reserve)/2)
	if o.rounds > 0 {
		if err := compareAll(ctx, o, dir); err != nil {
			return false, err
		}
	}
	if o.connections > 0 {
		if err := holdAll(ctx, o, dir); err != nil {
			return false, err
		}
	}
	return true, nil
}

// balancers are the names of what is compared. The first two are of the same Caddy.
var balancers = []string{"balance", "proxy of caddy-l4", "HAProxy"}

// startBalancers starts those that are installed, and returns their addresses and process ids.
func startBalancers(ctx context.Context, caddy, dir, backend string) (addresses map[string]string, pids map[string]int, err error) {
	addresses, pids = make(map[string]string), make(map[string]int)
	for i, name := range balancers {
		address, err := freeAddress()
		if err != nil {
			return nil, nil, err
		}
		file, path, args := filepath.Join(dir, fmt.Sprint("config", i)), caddy, []string{"run", "--adapter", "caddyfile", "--config"}
		text := fmt.Sprintf("{\nadmin off\npersist_config off\nlog {\nlevel PANIC\n}\nballast {\npool app {\nto %s\nhealth tcp\n}\n}\nlayer4 {\n%s {\nroute {\n%s\n}\n}\n}\n}\n",
			backend, address, map[string]string{"balance": "balance app", "proxy of caddy-l4": "proxy " + backend}[name])
		if name == "HAProxy" {
			if path, err = exec.LookPath("haproxy"); err != nil {
				fmt.Println("there is no haproxy here, so it is left out")
				continue
			}
			args = []string{"-db", "-f"}
			text = fmt.Sprintf("global\n\tmaxconn %d\n\tmaxpipes 100\ndefaults\n\tmode tcp\n\tbalance leastconn\n\ttimeout connect 3s\n\ttimeout client 1h\n\ttimeout server 1h\n"+
				"listen app\n\tbind %s\n\toption splice-auto\n\tserver one %s check\n", mostConnections, address, backend)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return nil, nil, err
		}
		c := exec.CommandContext(ctx, path, append(args, file)...)
		c.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
		c.Stderr = os.Stderr
		if err := c.Start(); err != nil {
			return nil, nil, err
		}
		go func() { _ = c.Wait() }()
		if err := awaitListener(ctx, address); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
		addresses[name], pids[name] = address, c.Process.Pid
	}
	return addresses, pids, nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func awaitListener(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("nothing listens at %s: %w", address, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// holdAll measures what idle connections take, of each balancer in turn.
func holdAll(ctx context.Context, o options, dir string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	go echo(l)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	addresses, pids, err := startBalancers(ctx, o.caddy, dir, l.Addr().String())
	if err != nil {
		return err
	}
	fmt.Printf("\n%d idle connections, of which each has sent one byte and got it back\n", o.connections)
	for _, name := range balancers {
		if addresses[name] == "" {
			continue
		}
		before := machine.ResidentMemory(pids[name])
		if err := hold(addresses[name], o.connections, func() {
			after := machine.ResidentMemory(pids[name])
			fmt.Printf("%-18s %.1f KB for each connection (%d MB, before %d MB)\n", name, float64(after-before)/float64(o.connections)/1000, after>>20, before>>20)
		}); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// echo sends back what comes. Connections end with their clients.
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

// hold opens connections, calls a function while they are idle, and closes them.
func hold(address string, n int, idle func()) error {
	conns := make([]net.Conn, 0, n)
	defer func() {
		for _, c := range conns {
			c.Close()
		}
		time.Sleep(2 * time.Second) // until the others have noticed
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
