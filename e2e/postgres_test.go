// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// postgres is a PostgreSQL with an empty cluster of its own.
type postgres struct {
	t       testing.TB
	address string
	dir     string
	cmd     *exec.Cmd
}

// startPostgres starts a PostgreSQL that ends with the test. It tells its name when it is asked for its
// cluster_name.
func startPostgres(t testing.TB, address, name string) *postgres {
	t.Helper()
	p := &postgres{t: t, address: address, dir: postgresDir(t)}
	initdb, server := postgresProgram(t, "initdb"), postgresProgram(t, "postgres")
	attributes := p.as()
	create := exec.Command(initdb, "--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "-D", p.dir)
	create.Dir, create.SysProcAttr = p.dir, attributes
	if out, err := create.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	p.cmd = exec.Command(server, "-D", p.dir, "-F", "-h", host, "-p", port, "-k", p.dir, "-c", "cluster_name="+name, "-c", "shared_buffers=16MB")
	p.cmd.Dir, p.cmd.SysProcAttr = p.dir, attributes
	log := new(logs)
	p.cmd.Stderr = log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.cmd.Process.Signal(syscall.SIGQUIT) // at once, with its own processes
		_ = p.cmd.Wait()
		if t.Failed() {
			t.Logf("PostgreSQL's log:\n%s", log)
		}
	})
	eventually(t, "PostgreSQL answers", func() bool {
		conn, err := dialPostgres(address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return p
}

// postgresProgram returns the path of one of PostgreSQL's programs, or skips the test. Debian has those of
// the server in a directory of their own.
func postgresProgram(t testing.TB, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name); len(found) > 0 {
		return found[len(found)-1]
	}
	t.Skipf("there is no %s here, so it is not tested with PostgreSQL; its package is postgresql", name)
	return ""
}

// postgresDir returns a directory for the data of PostgreSQL, which root may not be. Nobody else may read
// it, but its parents let everybody in.
func postgresDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ballast-postgres-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// as returns how to start its programs: not as root, which they refuse.
func (p *postgres) as() *syscall.SysProcAttr {
	attributes := &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT}
	if os.Getuid() != 0 {
		return attributes
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		account, err = user.Lookup("nobody")
	}
	if err != nil {
		p.t.Skipf("there is no user to run PostgreSQL as: %v", err)
	}
	uid, _ := strconv.Atoi(account.Uid)
	gid, _ := strconv.Atoi(account.Gid)
	if err := os.Chown(p.dir, uid, gid); err != nil {
		p.t.Skipf("PostgreSQL cannot have a directory: %v", err)
	}
	attributes.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return attributes
}

// ask returns the only value of the answer to a statement, on a connection of its own.
func (p *postgres) ask(statement string) string {
	p.t.Helper()
	conn, err := dialPostgres(p.address)
	if err != nil {
		p.t.Fatal(err)
	}
	defer conn.Close()
	value, err := conn.ask(statement)
	if err != nil {
		p.t.Fatal(err)
	}
	return value
}

// postgresConn is a connection of a client of PostgreSQL, without encryption and password.
type postgresConn struct{ net.Conn }

// dialPostgres connects, and waits until the server is ready for statements.
func dialPostgres(address string) (*postgresConn, error) {
	conn, err := net.DialTimeout("tcp", address, soon)
	if err != nil {
		return nil, err
	}
	c := &postgresConn{conn}
	startup := []byte("\x00\x03\x00\x00user\x00postgres\x00database\x00postgres\x00\x00")
	_, err = c.Write(append(binary.BigEndian.AppendUint32(nil, uint32(4+len(startup))), startup...))
	if err == nil {
		_, err = c.answer()
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// ask returns the only value of the answer to a statement.
func (c *postgresConn) ask(statement string) (string, error) {
	body := append([]byte(statement), 0)
	if _, err := c.Write(append(binary.BigEndian.AppendUint32([]byte{'Q'}, uint32(4+len(body))), body...)); err != nil {
		return "", err
	}
	return c.answer()
}

// answer reads up to where the server is ready again.
func (c *postgresConn) answer() (value string, err error) {
	_ = c.SetDeadline(time.Now().Add(soon))
	for {
		var header [5]byte
		if _, err := io.ReadFull(c, header[:]); err != nil {
			return "", err
		}
		body := make([]byte, binary.BigEndian.Uint32(header[1:])-4)
		if _, err := io.ReadFull(c, body); err != nil {
			return "", err
		}
		switch header[0] {
		case 'E':
			return "", fmt.Errorf("PostgreSQL: %q", bytes.ReplaceAll(body, []byte{0}, []byte{' '}))
		case 'D': // the number of columns, the length of the first, and its value
			value = string(body[6:])
		case 'Z':
			return value, nil
		}
	}
}
