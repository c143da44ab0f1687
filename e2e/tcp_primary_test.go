// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"testing"
	"time"
)

// TestTCPPrimary moves the primary between two PostgreSQLs, whose checks answer as Patroni does: 200 at
// /primary on the primary alone, on the same port of each host. All connections to the old primary are
// closed, new ones go to the new one, and the old one gets none.
func TestTCPPrimary(t *testing.T) {
	postgresProgram(t, "postgres")
	port, sql, checks := freePort(t), strconv.Itoa(freePort(t)), strconv.Itoa(freePort(t))
	needLoopback2(t)
	var databases [2]*postgres
	var patronis [2]*scripted
	for i, host := range []string{"127.0.0.1:", "127.0.0.2:"} {
		databases[i] = startPostgres(t, host+sql, []string{"one", "two"}[i])
		patronis[i] = startScripted(t, host+checks, nil)
	}
	primary := answer(http.StatusOK)
	replica := answer(http.StatusServiceUnavailable)
	patronis[0].serves(primary)
	patronis[1].serves(replica)
	c := startTCP(t, port, fmt.Sprintf("to %s %s\nhealth http /primary {\nport %s\ninterval 200ms\nfails 1\npasses 1\ninitial down\n}\nguard off\non_down close",
		databases[0].address, databases[1].address, checks), "")
	through := fmt.Sprintf("127.0.0.1:%d", port)
	up := func(i int) func() bool {
		return func() bool {
			up := c.metric("up")
			return up[databases[i].address] == 1 && up[databases[1-i].address] == 0
		}
	}
	eventually(t, "only the primary is up", up(0))

	const clients, moves = 20, 4
	// sessions is how many connections a database has, but for the one that asks.
	sessions := func(p *postgres) string {
		return p.ask("select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()")
	}
	for move := range moves {
		now := move % 2
		name, next := databases[now].ask("show cluster_name"), 1-now
		var conns []*postgresConn
		for range clients {
			conn, err := dialPostgres(through)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if got, err := conn.ask("show cluster_name"); err != nil || got != name {
				t.Fatalf("%q answers, want %q: %v", got, name, err)
			}
			conns = append(conns, conn)
		}
		if n := sessions(databases[now]); n != strconv.Itoa(clients) {
			t.Fatalf("the primary has %s connections of %d clients", n, clients)
		}
		moved := time.Now()
		patronis[now].serves(replica)
		patronis[next].serves(primary)
		for _, conn := range conns {
			if _, err := conn.answer(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("a connection to the old primary is not closed: %v", err)
			}
		}
		t.Logf("the connections are closed %v after the primary has moved", time.Since(moved).Round(time.Millisecond))
		eventually(t, "the new primary is up", up(next))
		for range clients {
			conn, err := dialPostgres(through)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := conn.ask("show cluster_name"); err != nil || got == name {
				t.Errorf("a new connection goes to %q: %v", got, err)
			}
			conn.Close()
		}
		eventually(t, "the old primary has no connection", func() bool { return sessions(databases[now]) == "0" })
	}
	c.quiet()
}

// needLoopback2 skips the test where 127.0.0.2 is no address, as it is on Linux.
func needLoopback2(t testing.TB) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Skip("127.0.0.2 is no address of this system: ", err)
	}
	l.Close()
}
