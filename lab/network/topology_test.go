// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package network

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestTopologyFillsInDefaults(t *testing.T) {
	hosts, err := Topology{Clients: make([]Host, 2), Backends: []Host{{}, {Name: "slow", Address: "10.77.9.9", CPU: 0.1}}}.hosts()
	if err != nil {
		t.Fatal(err)
	}
	want := []Host{
		{Name: "balancer", Address: "10.77.0.1"},
		{Name: "client1", Address: "10.77.1.1"}, {Name: "client2", Address: "10.77.1.2"},
		{Name: "backend1", Address: "10.77.2.1"}, {Name: "slow", Address: "10.77.9.9", CPU: 0.1},
	}
	if !slices.Equal(hosts, want) {
		t.Errorf("the hosts are %v, want %v", hosts, want)
	}
}

func TestTopologyIsChecked(t *testing.T) {
	for want, hosts := range map[string][]Host{
		`"Web 1" is not a valid name`:     {{Name: "Web 1"}},
		`"switch" is not a valid name`:    {{Name: "switch"}},
		`"10.78.0.1" is not in`:           {{Address: "10.78.0.1"}},
		`"x" is not in`:                   {{Address: "x"}},
		"another host has this name":      {{Name: "a"}, {Name: "a"}},
		"another host has this name or a": {{Address: "10.77.0.1"}},
		"the CPU share is at least 0.01":  {{CPU: 0.001}},
		"rate and delay are not negative": {{Rate: -1}},
		"251 backends":                    make([]Host, 251),
	} {
		if _, err := (Topology{Backends: hosts}).hosts(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want %q", err, want)
		}
	}
}

// With netem in the kernel, its qdisc is the parent of the bucket; otherwise programs simulate the
// delay.
func TestLinksHaveRateAndDelay(t *testing.T) {
	h := Host{Name: "a", Address: "10.77.2.1", Rate: 10_000_000, Delay: 1500 * time.Microsecond}
	queues := func(netem bool) (all []string) {
		for _, c := range hostCommands("x-", 3, h, netem) {
			if c[0] == "tc" {
				all = append(all, strings.Join(c[1:], " "))
			}
		}
		return all
	}
	const bucket = "tbf rate 10000000bit burst 66000 latency 50ms"
	if got, want := queues(true), []string{
		"-n x-a qdisc add dev eth0 root handle 1: netem delay 1500us limit 10000",
		"-n x-a qdisc add dev eth0 parent 1:1 handle 10: " + bucket,
		"-n x-switch qdisc add dev port3 root " + bucket,
	}; !slices.Equal(got, want) {
		t.Errorf("with netem: %q", got)
	}
	if got, want := queues(false), []string{
		"-n x-a qdisc add dev eth0 root " + bucket,
		"-n x-switch qdisc add dev port3 root " + bucket,
	}; !slices.Equal(got, want) {
		t.Errorf("without netem: %q", got)
	}
	h.Rate, h.Delay = 0, 0
	if got := queues(true); len(got) != 0 {
		t.Errorf("without limits: %q", got)
	}
}

// The quota divided by the period is the share, and both are valid for the kernel.
func TestBandwidthIsTheShare(t *testing.T) {
	for _, cpus := range []float64{0.01, 0.05, 0.1, 0.15, 0.333, 1, 2.5} {
		quota, period := bandwidth(cpus)
		if quota < 1000 || period < 1000 || period > 1_000_000 || math.Abs(float64(quota)/float64(period)/cpus-1) > 0.001 {
			t.Errorf("%v CPUs are %d of %d us", cpus, quota, period)
		}
	}
}

func TestControllerOfBothVersions(t *testing.T) {
	const first = "cgroup /sys/fs/cgroup/cpuset cgroup rw,cpuset 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu,cpuacct 0 0\n"
	const second = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n"
	with := func(controllers string) func(string) ([]byte, error) {
		return func(name string) ([]byte, error) {
			if name != "/sys/fs/cgroup/cgroup.controllers" {
				return nil, errors.New(name)
			}
			return []byte(controllers), nil
		}
	}
	for _, c := range []struct {
		mounts, controllers, want string
	}{
		{first, "", "{/sys/fs/cgroup/cpu 1}"},
		{second, "cpuset cpu io\n", "{/sys/fs/cgroup 2}"},
		{strings.Replace(second, "/sys/fs/cgroup", "/sys/fs/cgroup/unified", 1) + first, "", "{/sys/fs/cgroup/cpu 1}"},
		{second, "cpuset io\n", ""},
		{"proc /proc proc rw 0 0\n", "", ""},
	} {
		got, err := findController(c.mounts, with(c.controllers))
		if c.want == "" != (err != nil) || err == nil && fmt.Sprint(got) != c.want {
			t.Errorf("%q: %v, %v; want %s", c.mounts, got, err, c.want)
		}
	}
}

// A name is abandoned if its process has ended, also if its id was reused.
func TestAbandonedNames(t *testing.T) {
	starts := func(pid int) int64 { return map[int]int64{7: 100, 8: 200}[pid] }
	for name, want := range map[string]bool{
		"ballast-lab-7-100-1-balancer": false,
		"ballast-lab-7-99-1-balancer":  true,
		"ballast-lab-9-100-1-balancer": true,
		"ballast-lab-9-balancer":       false,
		"somebody-elses":               false,
	} {
		if got := abandoned(name, starts); got != want {
			t.Errorf("%s: abandoned is %v", name, got)
		}
	}
}
