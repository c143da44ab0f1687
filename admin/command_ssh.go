// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"fmt"
	"net"
	"os"
	"os/user"
	"runtime"
	"strings"
)

// remoteHint returns how a browser on another machine can reach a listener on this one; "" if this machine seems to
// have a browser.
func remoteHint(listener net.Addr, getenv func(string) string) string {
	connection := strings.Fields(getenv("SSH_CONNECTION")) // client address and port, server address and port
	screen := runtime.GOOS != "linux" || getenv("DISPLAY") != "" || getenv("WAYLAND_DISPLAY") != ""
	if len(connection) != 4 && screen {
		return ""
	}
	host, port := "<this machine>", ""
	if name, err := os.Hostname(); err == nil {
		host = name
	}
	if len(connection) == 4 {
		host = connection[2]
		if connection[3] != "22" {
			port = "-p " + connection[3] + " "
		}
	}
	if u, err := user.Current(); err == nil {
		host = u.Username + "@" + host
	}
	_, forwarded, _ := net.SplitHostPort(listener.String())
	return fmt.Sprintf("For a browser on another machine, run this there, and open the same address:\n  ssh %s-L %s:%s %s", port, forwarded, listener, host)
}
