// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"path/filepath"
	"testing"
)

// tcpPage is docs/tcp.md, from docs/coming-from.
const tcpPage = "../tcp"

// TestTCPConfigurations has HAProxy and nginx check what the page of TCP has of them.
func TestTCPConfigurations(t *testing.T) {
	t.Run("haproxy", func(t *testing.T) {
		path := program(t, "haproxy")
		for _, text := range comingFrom(t, tcpPage, "haproxy") {
			accepts(t, path, "-c", "-f", write(t, t.TempDir(), "haproxy.cfg", text))
		}
	})
	t.Run("nginx", func(t *testing.T) {
		path, module := program(t, "nginx"), nginxStream(t)
		for _, text := range comingFrom(t, tcpPage, "nginx") {
			dir := t.TempDir()
			text = "load_module " + module + ";\npid " + dir + "/pid;\n" + text
			accepts(t, path, "-t", "-e", "stderr", "-p", dir, "-c", write(t, dir, "nginx.conf", text))
		}
	})
}

// nginxStream returns the path of nginx' module for TCP, or skips the test.
func nginxStream(t *testing.T) string {
	const module = "/usr/lib/nginx/modules/ngx_stream_module.so"
	for _, path := range []string{module, filepath.Join("/usr/local/lib/ballast-nginx", module)} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	t.Skip("there is no module of nginx for TCP here; its package is libnginx-mod-stream")
	return ""
}
