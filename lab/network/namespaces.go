// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package network

import (
	"fmt"
	"strings"
	"time"
)

// switchName is the host with the bridge. The bridge has its own namespace, so that the network of
// the machine gets no devices and addresses, and deleting the namespaces deletes everything.
const switchName = "switch"

// queueTime bounds how long a packet waits for a link with a rate.
const queueTime = 50 * time.Millisecond

// switchCommands returns the commands that create the bridge.
func switchCommands(id string) [][]string {
	ns := id + switchName
	return [][]string{
		{"ip", "netns", "add", ns},
		{"ip", "-n", ns, "link", "add", "br0", "type", "bridge"},
		{"ip", "-n", ns, "link", "set", "br0", "up"},
	}
}

// hostCommands returns the commands that connect a host to the bridge, at port i. With netem the
// link has the delay.
func hostCommands(id string, i int, h Host, netem bool) [][]string {
	ns, hub, port := id+h.Name, id+switchName, fmt.Sprintf("port%d", i)
	all := [][]string{
		{"ip", "netns", "add", ns},
		{"ip", "link", "add", port, "netns", hub, "type", "veth", "peer", "name", "eth0", "netns", ns},
		{"ip", "-n", hub, "link", "set", port, "master", "br0", "up"},
		{"ip", "-n", ns, "addr", "add", fmt.Sprintf("%s/%d", h.Address, prefix.Bits()), "dev", "eth0"},
		{"ip", "-n", ns, "link", "set", "eth0", "up"},
		{"ip", "-n", ns, "link", "set", "lo", "up"},
	}
	parent := []string{"root"}
	if netem && h.Delay > 0 {
		all = append(all, []string{"tc", "-n", ns, "qdisc", "add", "dev", "eth0", "root", "handle", "1:",
			"netem", "delay", fmt.Sprintf("%dus", h.Delay.Microseconds()), "limit", "10000"})
		parent = []string{"parent", "1:1", "handle", "10:"}
	}
	if h.Rate > 0 {
		all = append(all,
			append(append([]string{"tc", "-n", ns, "qdisc", "add", "dev", "eth0"}, parent...), bucket(h.Rate)...),
			append([]string{"tc", "-n", hub, "qdisc", "add", "dev", port, "root"}, bucket(h.Rate)...))
	}
	return all
}

// bucket is the token bucket of a link. Its burst is the rate times 10 ms, a tick of the slowest
// kernels, and at least one TCP segment with offloading.
func bucket(rate int64) []string {
	return []string{"tbf", "rate", fmt.Sprintf("%dbit", rate), "burst", fmt.Sprint(max(rate/8/100, 66_000)),
		"latency", fmt.Sprintf("%dms", queueTime.Milliseconds())}
}

// cleanupScript returns a shell script that kills all processes of namespaces and control groups,
// except self, and deletes them. A control group is busy until its processes are reaped.
func cleanupScript(namespaces, groups []string, self int) string {
	return fmt.Sprintf(`
for ns in %[1]s; do
	for pid in $(ip netns pids "$ns" 2>/dev/null); do [ "$pid" = %[3]d ] || kill -9 "$pid" 2>/dev/null; done
	ip netns del "$ns" 2>/dev/null
done
for group in %[2]s; do
	tries=0
	while [ -d "$group" ] && ! rmdir "$group" 2>/dev/null && [ $tries -lt 100 ]; do
		for pid in $(cat "$group/cgroup.procs" 2>/dev/null); do kill -9 "$pid" 2>/dev/null; done
		tries=$((tries + 1))
		sleep 0.05
	done
done
true`, strings.Join(namespaces, " "), strings.Join(groups, " "), self)
}
