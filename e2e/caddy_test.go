// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// caddyProcess is a running Caddy with an admin endpoint and folders of its own.
type caddyProcess struct {
	t      testing.TB
	admin  string
	log    *logs
	dir    string
	data   string // the data directory; empty for dir
	binary string // empty for caddyBinary
	cmd    *exec.Cmd
	ended  chan struct{}
}

// startCaddy runs Caddy with a Caddyfile of the given sites until the test
// ends. global is more global options.
func startCaddy(t testing.TB, global, sites string) *caddyProcess {
	t.Helper()
	c := &caddyProcess{t: t, admin: freeAddress(t), dir: t.TempDir()}
	t.Cleanup(c.stop) // also of one that does not come to serve
	c.start(global, sites)
	return c
}

// start runs Caddy, again after stop or kill, with the storage and the id that
// it had.
func (c *caddyProcess) start(global, sites string) {
	c.t.Helper()
	config := filepath.Join(c.dir, "Caddyfile")
	if err := os.WriteFile(config, []byte(c.caddyfile(global, sites)), 0o644); err != nil {
		c.t.Fatal(err)
	}
	cmd, ended := exec.Command(cmp.Or(c.binary, caddyBinary), "run", "--config", config, "--adapter", "caddyfile"), make(chan struct{})
	log := new(logs)
	cmd.Env = append(os.Environ(), "HOME="+c.dir, "XDG_CONFIG_HOME="+c.dir, "XDG_DATA_HOME="+cmp.Or(c.data, c.dir), "XDG_RUNTIME_DIR="+c.dir)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.cmd, c.ended, c.log = cmd, ended, log
	go func() {
		defer close(ended)
		cmd.Wait()
	}()
	eventually(c.t, "Caddy serves", func() bool {
		select {
		case <-ended:
			c.t.Fatal("Caddy did not start")
		default:
		}
		return c.log.count("serving initial configuration", nil) > 0
	})
}

// caddyfile puts the options that keep a test to itself before the sites, and
// one that has the log tell of events, which no handler of a plain Caddy shows.
func (c *caddyProcess) caddyfile(global, sites string) string {
	return fmt.Sprintf("{\nadmin %s\nauto_https disable_redirects\nlocal_certs\nskip_install_trust\npersist_config off\n"+
		"log events {\noutput stderr\nformat json\nlevel DEBUG\ninclude events\n}\n%s\n}\n%s",
		c.admin, global, sites)
}

// kill ends Caddy without a word.
func (c *caddyProcess) kill() {
	c.cmd.Process.Kill()
	<-c.ended
}

// stop ends Caddy as an operator does, and looks at what it leaves. It may be
// called again.
func (c *caddyProcess) stop() {
	if c.cmd == nil {
		return
	}
	c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.ended:
	case <-time.After(soon):
		c.kill()
		c.t.Errorf("Caddy did not stop within %v", soon)
	}
	for _, fault := range c.log.faults() {
		c.t.Errorf("Caddy's log has a fault: %s", fault)
	}
	if c.t.Failed() {
		c.t.Logf("the end of Caddy's log:\n%s", c.log.tail(40))
	}
}

// load replaces the configuration, as caddy reload does, and returns what
// Caddy has against it.
func (c *caddyProcess) load(global, sites string) error {
	res, err := http.Post("http://"+c.admin+"/load", "text/caddyfile", strings.NewReader(c.caddyfile(global, sites)))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", res.StatusCode, bytes.TrimSpace(body))
	}
	return err
}

// get returns what the admin endpoint answers. It asks again if the endpoint is
// handed to the next configuration just then.
func (c *caddyProcess) get(path string) string {
	c.t.Helper()
	res, err := http.Get("http://" + c.admin + path)
	for range 5 {
		if err == nil || !dropped(err) {
			break
		}
		res, err = http.Get("http://" + c.admin + path)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		c.t.Fatalf("GET %s: status %d, %v", path, res.StatusCode, err)
	}
	return string(body)
}
