// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package l4

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/clip"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
)

// authority signs certificates, which are in files.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	a := &authority{dir: t.TempDir(), pool: x509.NewCertPool()}
	a.cert, a.key = a.issue(t, "ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	a.pool.AddCert(a.cert)
	return a
}

// issue signs a certificate and writes <name>.pem and <name>.key. They are valid in virtual time, which
// begins in 2000.
func (a *authority) issue(t *testing.T, name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.Subject = big.NewInt(1), pkix.Name{CommonName: name}
	template.NotBefore, template.NotAfter = time.Unix(0, 0), time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for ext, block := range map[string]*pem.Block{".pem": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(a.dir, name+ext), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// secure is a server with a certificate for a name, and for more. It sends the server name that it was asked for and the
// name of the client's certificate, and then echoes.
func (a *authority) secure(t *testing.T, name string, clients tls.ClientAuthType, more ...string) func(net.Conn) {
	t.Helper()
	a.issue(t, name, &x509.Certificate{DNSNames: append(more, name)})
	cert, err := tls.LoadX509KeyPair(a.file(name+".pem"), a.file(name+".key"))
	if err != nil {
		t.Fatal(err)
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: clients, ClientCAs: a.pool}
	return func(conn net.Conn) {
		s := tls.Server(conn, cfg)
		if s.Handshake() != nil {
			return
		}
		state, client := s.ConnectionState(), "nobody"
		if len(state.PeerCertificates) > 0 {
			client = state.PeerCertificates[0].Subject.CommonName
		}
		_, _ = fmt.Fprintln(s, "for", state.ServerName, "from", client)
		_, _ = io.Copy(s, s)
		_ = s.CloseWrite()
	}
}

// TLS to the backend trusts, names and shows what it is told, and a handshake that fails is a failure to
// connect: another backend is tried.
func TestTLS(t *testing.T) {
	a := newAuthority(t)
	a.issue(t, "us", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	other := newAuthority(t)
	trust := fmt.Sprintf(`"ca":%q`, a.file("ca.pem"))
	for name, tt := range map[string]struct {
		server, options, want string
		clients               tls.ClientAuthType
		failure               string // of the handler's error
	}{
		"the host is the name":    {"db.test", trust, "for db.test from nobody", tls.NoClientCert, ""},
		"another name":            {"primary.test", trust + `,"server_name":"primary.test"`, "for primary.test from nobody", tls.NoClientCert, ""},
		"the name is not its own": {"primary.test", trust, "", tls.NoClientCert, "certificate is valid for primary.test, not db.test"},
		"not trusted":             {"db.test", fmt.Sprintf(`"ca":%q`, other.file("ca.pem")), "", tls.NoClientCert, "certificate signed by unknown authority"},
		"trusts anything":         {"primary.test", `"insecure_skip_verify":true`, "for db.test from nobody", tls.NoClientCert, ""},
		"a client certificate": {"db.test", trust + fmt.Sprintf(`,"client_certificate":%q,"client_certificate_key":%q`, a.file("us.pem"), a.file("us.key")),
			"for db.test from us", tls.RequireAndVerifyClientCert, ""},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork()
			n.serve("db.test:1", a.secure(t, tt.server, tt.clients))
			virtual(t, n, at("", "db.test:1"), `"retries":1,"tls":{`+tt.options+`}`, func(t *testing.T, f *front) {
				c := f.call()
				b := f.backend(t, "db.test:1")
				if tt.failure == "" {
					if got := c.line() + ", " + c.say("hello"); got != tt.want+", hello" {
						t.Errorf("got %q, want %q", got, tt.want)
					}
					_ = c.CloseWrite() // passed on as close_notify, and the backend answers in kind
					if _, err := c.lines.ReadByte(); err != io.EOF {
						t.Errorf("at the end: %v", err)
					}
				}
				_ = c.Close()
				if <-c.ended; (c.err != nil) != (tt.failure != "") || tt.failure != "" && !strings.Contains(c.err.Error(), tt.failure) {
					t.Errorf("error %v, want %q", c.err, tt.failure)
				}
				tries := int64(0)
				if tt.failure != "" {
					tries = 2
				}
				if got := b.Totals().Failures[outlier.TLSFailure]; got != tries || b.InFlight() != 0 {
					t.Errorf("%d failures of TLS, want %d; %d in flight", got, tries, b.InFlight())
				}
			})
		})
	}
}

// What the certificate of a backend says is not told at its full length.
func TestNamesOfACertificateAreClipped(t *testing.T) {
	a := newAuthority(t)
	var names []string
	for n := range 90 {
		names = append(names, fmt.Sprintf("%d.%s.test", n, strings.Repeat("x", 60)))
	}
	n := newNetwork()
	n.serve("db.test:1", a.secure(t, names[0], tls.NoClientCert, names[1:]...))
	virtual(t, n, at("", "db.test:1"), fmt.Sprintf(`"tls":{"ca":%q}`, a.file("ca.pem")), func(t *testing.T, f *front) {
		c := f.call()
		_ = c.Close()
		if <-c.ended; c.err == nil || len(c.err.Error()) > 2*clip.MaxBytes || outlier.FailureOf(c.err) != outlier.TLSFailure {
			t.Errorf("%d bytes: %.200v", len(fmt.Sprint(c.err)), c.err)
		}
	})
}

// A backend that accepts and does not speak TLS costs no more than the time to connect, and the PROXY header
// comes before the handshake.
func TestTLSThatIsNone(t *testing.T) {
	a := newAuthority(t)
	good := a.secure(t, "db.test", tls.NoClientCert)
	options := fmt.Sprintf(`"connect_timeout":"2s","selection_policy":{"policy":"wrr"},"tls":{"ca":%q,"server_name":"db.test"}`, a.file("ca.pem"))
	for name, tt := range map[string]struct {
		serve   func(net.Conn)
		failure outlier.Failure
		took    time.Duration
	}{
		"silent":        {func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }, outlier.Timeout, 2 * time.Second},
		"does not read": {func(net.Conn) { time.Sleep(time.Minute) }, outlier.Timeout, 2 * time.Second},
		"another protocol": {func(conn net.Conn) {
			_, _ = conn.Read(make([]byte, 16<<10)) // the hello, in one
			_, _ = io.WriteString(conn, "-ERR unknown command\r\n")
			time.Sleep(time.Minute)
		}, outlier.TLSFailure, 0},
		"ends": {func(net.Conn) {}, outlier.Reset, 0},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork()
			n.serve("bad:1", tt.serve)
			n.serve("good:1", good)
			virtual(t, n, at(`"outliers":{"off":true}`, "bad:1", "good:1"), options, func(t *testing.T, f *front) {
				began := time.Now()
				for n.count("bad:1") == 0 { // wrr gives it the first try of every other
					c := f.call()
					if got := c.line(); got != "for db.test from nobody" {
						t.Errorf("got %q", got)
					}
					_ = c.hangUp()
				}
				if took := time.Since(began); took != tt.took {
					t.Errorf("it took %v, want %v", took, tt.took)
				}
				b := f.backend(t, "bad:1")
				if fails := b.Totals().Failures; fails[tt.failure] != 1 || b.InFlight() != 0 || b.Traffic.Totals().Connected != 0 {
					t.Errorf("failures %v, %d in flight, %+v", fails, b.InFlight(), b.Traffic.Totals())
				}
				time.Sleep(time.Minute) // until the servers have ended
			})
		})
	}
	t.Run("PROXY header", func(t *testing.T) {
		n := newNetwork()
		n.serve("db.test:1", func(conn net.Conn) {
			line := make([]byte, len("PROXY TCP4 192.0.2.1 198.51.100.1 5000 5432\r\n"))
			if _, err := io.ReadFull(conn, line); err != nil || !strings.HasSuffix(string(line), " 5000 5432\r\n") {
				t.Errorf("header %q, %v", line, err)
			}
			good(conn)
		})
		virtual(t, n, at("", "db.test:1"), options+`,"proxy_protocol":"v1"`, func(t *testing.T, f *front) {
			c := f.call()
			if got := c.line(); got != "for db.test from nobody" {
				t.Errorf("got %q", got)
			}
			_ = c.hangUp()
		})
	})
}
