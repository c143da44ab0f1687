// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// foreign is a process of another program, such as Debian's nginx.
type foreign struct {
	t       testing.TB
	address string
	command []string
	shell   *exec.Cmd
	stdin   io.Closer
	pid     int
}

// startNginx starts nginx until the test ends, or skips the test where there is
// none.
func startNginx(t testing.TB) *foreign {
	t.Helper()
	path := program(t, "nginx")
	dir := t.TempDir()
	config := filepath.Join(dir, "nginx.conf")
	n := &foreign{t: t, address: freeAddress(t), command: []string{path, "-c", config}}
	text := fmt.Sprintf(`
		daemon off; master_process off; # one process, for signals
		pid %[1]s/pid; error_log stderr error;
		events {}
		http {
			access_log off;
			client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
			server {
				listen %[2]s;
				location = /health { return 204; }
				location / { add_header X-Backend %[2]s; return 200 %[2]s; }
			}
		}`, dir, n.address)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	n.start()
	t.Cleanup(n.end)
	return n
}

// start starts the process, again after stop. A shell ends it when this process
// is gone.
func (n *foreign) start() {
	n.t.Helper()
	const script = `"$@" </dev/null >&2 & echo $!; read -r _; kill -KILL $! 2>/dev/null; wait`
	n.shell = exec.Command("sh", append([]string{"-c", script, "sh"}, n.command...)...)
	n.shell.Stderr = os.Stderr
	stdout, err1 := n.shell.StdoutPipe()
	stdin, err2 := n.shell.StdinPipe()
	if err1 != nil || err2 != nil {
		n.t.Fatal(err1, err2)
	}
	n.stdin = stdin
	if err := n.shell.Start(); err != nil {
		n.t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err == nil {
		n.pid, err = strconv.Atoi(strings.TrimSpace(line))
	}
	if err != nil {
		n.t.Fatal(err)
	}
	eventually(n.t, filepath.Base(n.command[0])+" listens", n.listens)
}

func (n *foreign) listens() bool {
	conn, err := net.Dial("tcp", n.address)
	if err == nil {
		conn.Close()
	}
	return err == nil
}

func (n *foreign) signal(s syscall.Signal) {
	n.t.Helper()
	if err := syscall.Kill(n.pid, s); err != nil {
		n.t.Fatal(err)
	}
}

// stop ends it as an operator does.
func (n *foreign) stop() {
	n.t.Helper()
	n.signal(syscall.SIGTERM)
	eventually(n.t, filepath.Base(n.command[0])+" has ended", func() bool { return !n.listens() })
	n.end()
}

// end ends whatever is left. It may be called again.
func (n *foreign) end() {
	n.stdin.Close()
	n.shell.Wait()
}

// TestHealthNginx has an nginx among three backends be stopped and started
// again, and then hang: its kernel accepts connections that nobody answers.
func TestHealthNginx(t *testing.T) {
	n := startNginx(t)
	others := startBackends(t, 2)
	port := freePort(t)
	const check = "health http /health {\ninterval 500ms\ntimeout 1s\nfails 2\n}\n"
	c := startCaddy(t, "", poolSite(port, fmt.Sprintf("to %s %s\n%s", n.address, addresses(others), check+brief), "lb_retries 2"))
	const rate = 300
	l := startImpatientLoad(t, fmt.Sprintf("http://127.0.0.1:%d/", port), rate)
	eventually(t, "all backends answer", func() bool { return len(l.counts()) == 3 })
	expectReturn := func(ups int) {
		t.Helper()
		eventually(t, "nginx is up", func() bool { return c.ups(n.address) == ups })
		before := l.counts()[n.address]
		eventually(t, "nginx has traffic again", func() bool { return l.counts()[n.address] > before+50 })
	}

	n.stop()
	eventually(t, "nginx is down", func() bool { return c.downs(n.address) == 1 })
	noTraffic(c, l, n.address)
	n.start()
	expectReturn(1)
	l.mustNotFail()

	ejected := c.metric("ejections_total")[n.address]
	n.signal(syscall.SIGSTOP)
	eventually(t, "nginx is ejected", func() bool { return c.metric("ejections_total")[n.address] > ejected })
	t.Logf("ejected: %s", c.reason(n.address, "backend_ejected"))
	eventually(t, "nginx is down", func() bool { return c.downs(n.address) == 2 })
	lost := lostOver(c, l, n.address)
	noTraffic(c, l, n.address)
	// A third of the requests of the second that it takes to tell, and a trial or
	// two. Three times as many are allowed.
	t.Logf("%d requests were lost", lost)
	if l.lost() != lost || lost > rate {
		t.Errorf("%d requests were lost until nginx was out, and %d in all, want at most %d", lost, l.lost(), rate)
	}
	n.signal(syscall.SIGCONT)
	expectReturn(2)
	l.stop()
	if l.lost() != lost {
		t.Errorf("%d requests were lost after nginx was back: %q", l.lost()-lost, l.errors)
	}
	c.history(n.address)
	for _, b := range others {
		c.expectHistory(b.address)
	}
}
