// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package redischeck

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/ballast-lb/caddy-ballast/healthcheck/healthchecktest"
)

// redis returns a server that answers PING with a line.
func redis(answer string) func(net.Conn) {
	return func(c net.Conn) {
		for in := bufio.NewReader(c); ; {
			switch line, err := in.ReadString('\n'); {
			case err != nil:
				return
			case strings.TrimSpace(line) == "secret":
				_, _ = io.WriteString(c, "+OK\r\n")
			case strings.TrimSpace(line) == "PING":
				_, _ = io.WriteString(c, answer+"\r\n")
			}
		}
	}
}

func TestConformance(t *testing.T) {
	healthchecktest.Run(t, healthchecktest.Check{
		Caddyfile: "redis {\n password secret\n}",
		Serve:     redis("+PONG"),
		Unhealthy: redis("-LOADING Redis is loading the dataset in memory"),
	})
}
