// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ballast-lb/caddy-ballast/fleet"
	"github.com/ballast-lb/caddy-ballast/fleet/fleettest"
)

var fleets atomic.Int64

// conforms runs the conformance suite. Each test of it has a fleet of its own, by prefix.
func conforms(t *testing.T, options string) {
	fleettest.Run(t, func(t *testing.T) func() fleet.Conn {
		prefix := fmt.Sprint("fleet", fleets.Add(1))
		return func() fleet.Conn {
			return open(t, fmt.Sprintf("redis {\n%s\n%s\nprefix %s\n}", options, busyTimeout, prefix))
		}
	})
}

func TestRedisConformance(t *testing.T) {
	s := startServer(t)
	conforms(t, "address "+s.address)
}

// What a user of the server's access control list must be allowed, as the README says.
const permissions = "~{ballast}:* resetchannels +@hash +@sortedset +@stream +@connection +eval +evalsha +del +pttl +pexpire +time +info"

// A store reaches its server by all the ways that can be configured.
func TestRedisConnections(t *testing.T) {
	files := makeCertificates(t)
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	socket, err := os.MkdirTemp("", "redis-") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(socket)
	nobody := "127.0.0.1:" + freePort(t)

	for name, test := range map[string]struct {
		server  []string
		options string // of the store, of which ADDRESS is the server's address
		prepare func(*server)
	}{
		"password":    {[]string{"--requirepass", "s3cret"}, "address ADDRESS\npassword s3cret", nil},
		"database":    {nil, "address ADDRESS\ndb 5", nil},
		"first alive": {nil, "address " + nobody + " ADDRESS", nil},
		"unix socket": {[]string{"--unixsocket", socket + "/redis"}, "address unix/" + socket + "/redis", nil},
		"user": {nil, "address ADDRESS\nusername ballast\npassword_file " + password, func(s *server) {
			s.do(append([]any{"ACL", "SETUSER", "ballast", "on", ">s3cret"}, words(permissions)...)...)
		}},
		"TLS": {
			[]string{"--port", "0", "--tls-port", "PORT", "--tls-cert-file", files["server.pem"], "--tls-key-file", files["server.key"], "--tls-ca-cert-file", files["ca.pem"]},
			fmt.Sprintf("address ADDRESS\ntls {\nca %s\ncertificate %s %s\n}", files["ca.pem"], files["client.pem"], files["client.key"]), nil,
		},
		"cluster": {[]string{"--cluster-enabled", "yes"}, "cluster ADDRESS", func(s *server) {
			s.do("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
			eventually(t, "the cluster is ready", func() bool { return strings.Contains(s.do("CLUSTER", "INFO").(string), "cluster_state:ok") })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, test.server...)
			if test.prepare != nil {
				test.prepare(s)
			}
			tokens := fmt.Sprintf("redis {\n%s\n%s\n}", strings.ReplaceAll(test.options, "ADDRESS", s.address), busyTimeout)
			one, two := open(t, tokens), open(t, tokens)
			_, start := all(t, one)
			push(t, two, record("a", 1, "x", time.Hour))
			changes, err := one.Changes(call(t), start, time.Second)
			if err != nil || len(changes.Records) != 1 {
				t.Errorf("the other instance gets %+v, %v", changes, err)
			}
			beat(t, one, "one", 0)
			if got := beat(t, two, "two", 0); len(got.Instances) != 2 || got.Incarnation == "" {
				t.Errorf("the fleet is %+v", got)
			}
			if err := one.Leave(call(t), "one"); err != nil {
				t.Error(err)
			}
		})
	}
}

// A password that has changed in its file is used for the next connection.
func TestRedisPasswordFileIsReadAgain(t *testing.T) {
	s := startServer(t, "--requirepass", "former")
	file := filepath.Join(t.TempDir(), "password")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("former")
	c := open(t, fmt.Sprintf("redis {\naddress %s\npassword_file %s\n%s\n}", s.address, file, busyTimeout))
	beat(t, c, "one", 0)
	s.kill()
	s.args[len(s.args)-1] = "latter"
	s.start()
	if _, err := c.Beat(call(t), fleet.Instance{ID: "one"}, time.Minute, 0); err == nil {
		t.Error("the former password is accepted")
	}
	write("latter")
	beat(t, c, "one", 0)
}

// A server that has no certificate of the authority gets no password.
func TestRedisCertificateIsVerified(t *testing.T) {
	files := makeCertificates(t)
	s := startServer(t, "--port", "0", "--tls-port", "PORT", "--tls-auth-clients", "no", "--tls-cert-file", files["server.pem"], "--tls-key-file", files["server.key"], "--tls-ca-cert-file", files["ca.pem"])
	for tls, trusted := range map[string]bool{
		"tls": false, "tls {\nca " + files["ca.pem"] + "\nserver_name other.internal\n}": false,
		"tls {\nca " + files["ca.pem"] + "\n}": true, "tls {\ninsecure_skip_verify\n}": true,
	} {
		c := open(t, fmt.Sprintf("redis {\naddress %s\n%s\n%s\n}", s.address, tls, busyTimeout))
		if trusted {
			beat(t, c, "one", 0)
			continue
		}
		if _, err := c.Beat(call(t), fleet.Instance{ID: "one"}, time.Minute, 0); err == nil || !strings.Contains(err.Error(), "x509") {
			t.Errorf("%s: got %v", tls, err)
		}
	}
}

func words(text string) (all []any) {
	for _, word := range strings.Fields(text) {
		all = append(all, word)
	}
	return all
}

// makeCertificates makes an authority with a server certificate for 127.0.0.1 and a client
// certificate, and returns their files by name.
func makeCertificates(t *testing.T) map[string]string {
	t.Helper()
	dir, files := t.TempDir(), make(map[string]string)
	write := func(name, kind string, der []byte) {
		files[name] = filepath.Join(dir, name)
		if err := os.WriteFile(files[name], pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var authority *x509.Certificate
	var authorityKey *ecdsa.PrivateKey
	for serial, name := range []string{"ca", "server", "client"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(int64(serial + 1)), Subject: pkix.Name{CommonName: name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		}
		parent, signer := authority, authorityKey
		if authority == nil {
			template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
			parent, signer = template, key
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}
		keyDER, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		if authority == nil {
			if authority, err = x509.ParseCertificate(der); err != nil {
				t.Fatal(err)
			}
			authorityKey = key
		}
		write(name+".pem", "CERTIFICATE", der)
		write(name+".key", "EC PRIVATE KEY", keyDER)
	}
	return files
}
