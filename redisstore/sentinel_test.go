// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// startSentinel starts a sentinel that ends with the test. Others reach it at the announced port.
func startSentinel(t *testing.T, master *server, port, announced string) *server {
	t.Helper()
	s := &server{t: t, port: port, address: "127.0.0.1:" + port, dir: t.TempDir()}
	config := filepath.Join(s.dir, "sentinel.conf")
	text := fmt.Sprintf("port %s\nbind 127.0.0.1\ndir %s\nsentinel announce-ip 127.0.0.1\nsentinel announce-port %s\n"+
		"sentinel monitor main 127.0.0.1 %s 2\nsentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n",
		port, s.dir, announced, master.port)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	s.args = []string{config, "--sentinel"}
	s.start()
	t.Cleanup(s.kill)
	return s
}

// A master ends, and Sentinel makes its replica the master, while the first of three sentinels
// drops all packets.
func TestRedisFailedOver(t *testing.T) {
	master := startServer(t)
	replica := startServer(t, "--replicaof", "127.0.0.1", master.port)
	var sentinels []*server
	hidden := freePort(t)
	p := startProxy(t, "127.0.0.1:"+hidden)
	sentinels = append(sentinels, startSentinel(t, master, hidden, p.port))
	for range 2 {
		port := freePort(t)
		sentinels = append(sentinels, startSentinel(t, master, port, port))
	}
	eventually(t, "the replica is in sync", func() bool {
		return replica.info("replication", "master_link_status") == "up"
	})
	for _, s := range sentinels {
		eventually(t, "the sentinels know each other and the replica", func() bool {
			text := fmt.Sprint(s.do("SENTINEL", "MASTER", "main"))
			return strings.Contains(text, "num-other-sentinels 2") && strings.Contains(text, "num-slaves 1")
		})
	}
	p.swallow.Store(true)
	fault{
		tokens: fmt.Sprintf("redis {\nsentinel main %s %s %s\n}", p.address, sentinels[1].address, sentinels[2].address),
		begin:  master.kill,
		end: func() {
			eventually(t, "the replica is the master", func() bool {
				return strings.Contains(fmt.Sprint(sentinels[1].do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")), replica.port) &&
					replica.info("replication", "role") == "master"
			})
		},
		server: func() *server {
			if strings.Contains(fmt.Sprint(sentinels[1].do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")), replica.port) {
				return replica
			}
			return master
		},
		closes: p.close, // the other sentinels may have connected to the first one again
	}.survives(t)
}
