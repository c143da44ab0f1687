// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// The dashboard is for this machine alone, which is said before anything is asked for.
func TestDashboardListens(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "127.8.9.10:8090", "localhost:8090", "[::1]:8090", "[::ffff:127.0.0.1]:1"} {
		if err := checkListen(listen); err != nil {
			t.Errorf("%s: %v", listen, err)
		}
	}
	for listen, want := range map[string]string{
		"0.0.0.0:24995":   "write --listen 127.0.0.1:24995 here and `ssh -L 24995:127.0.0.1:24995 <this machine>`",
		":24995":          "write --listen 127.0.0.1:24995 here",
		"[::]:24995":      "or use `pool_status` in a site, behind authentication",
		":0":              "write --listen 127.0.0.1:8090 here",
		"192.0.2.1:80":    "is not a loopback address",
		"example.com:80":  "is not a loopback address",
		"127.0.0.1":       "must be an address and a port such as 127.0.0.1:8090",
		"":                "must be an address and a port",
		"127.0.0.1:":      "must have a port from 0 to 65535",
		"127.0.0.1:http":  "must have a port from 0 to 65535",
		"127.0.0.1:70000": "must have a port from 0 to 65535",
	} {
		stdout, stderr, err := run("dashboard", "--address", "127.0.0.1:1", "--listen", listen)
		if err == nil || stdout != "" || !strings.Contains(stderr, want) || strings.Contains(stderr, "is Caddy running") {
			t.Errorf("%q: %v, %s%s", listen, err, stdout, stderr)
		}
	}
}

// Who reads what the command writes gets the address and nothing else, and then the end
// of it, though the command goes on.
func TestDashboardTells(t *testing.T) {
	t.Setenv("SSH_CONNECTION", "192.0.2.1 50000 10.0.0.9 2222")
	address := serve(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	root := &cobra.Command{Use: "ballast"}
	newCommand(root)
	var errs bytes.Buffer
	root.SetOut(w)
	root.SetErr(&errs)
	root.SetArgs([]string{"dashboard", "--address", address})
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- root.ExecuteContext(ctx) }()
	out, err := io.ReadAll(r)
	stop()
	if ended := <-done; ended != nil || err != nil {
		t.Fatal(ended, err)
	}
	url, rest, _ := strings.Cut(string(out), "\n")
	if !strings.HasPrefix(url, "http://127.0.0.1:") || !strings.HasSuffix(url, "/ballast/") || rest != "" {
		t.Errorf("got %q", out)
	}
	port := strings.Split(url, "/")[2]
	if want := "The dashboard is at " + url + " until you press ctrl-c\n"; !strings.HasPrefix(errs.String(), want) ||
		!strings.Contains(errs.String(), "  ssh -p 2222 -L "+strings.TrimPrefix(port, "127.0.0.1:")+":"+port+" ") || !strings.HasSuffix(errs.String(), "@10.0.0.9\n") {
		t.Errorf("got %q, want %q", errs.String(), want)
	}
}

// The command of ssh is printed on servers, and not on a desktop.
func TestRemoteHint(t *testing.T) {
	listener := &net.TCPAddr{IP: net.IPv6loopback, Port: 8090}
	for _, tt := range []struct {
		env  map[string]string
		want string // at the end of the first argument of ssh
	}{
		{map[string]string{"DISPLAY": ":0"}, ""},
		{map[string]string{"WAYLAND_DISPLAY": "wayland-0"}, ""},
		{map[string]string{"DISPLAY": ":0", "SSH_CONNECTION": "192.0.2.1 50000 2001:db8::9 22"}, "\n  ssh -L 8090:[::1]:8090 "},
		{map[string]string{"SSH_CONNECTION": "odd", "DISPLAY": ":0"}, ""},
		{nil, "\n  ssh -L 8090:[::1]:8090 "},
	} {
		if got := remoteHint(listener, func(name string) string { return tt.env[name] }); !strings.Contains(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("%v: %q", tt.env, got)
		}
	}
}
