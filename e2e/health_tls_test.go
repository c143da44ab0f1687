// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// selfSigned returns a certificate that nobody vouches for, as it is served and
// as text.
func selfSigned(t testing.TB, name string) (*tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// TestHealthTLS has one of three HTTPS backends serve a certificate for a while
// that is not the one which is trusted.
func TestHealthTLS(t *testing.T) {
	trusted, text := selfSigned(t, "app.test")
	unknown, _ := selfSigned(t, "app.test")
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, text, 0o644); err != nil {
		t.Fatal(err)
	}
	var served [3]atomic.Pointer[tls.Certificate]
	var backends [3]*scripted
	to := "to"
	for i := range backends {
		served[i].Store(trusted)
		backends[i] = startScripted(t, freeAddress(t), &tls.Config{
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return served[i].Load(), nil },
			// A session that is resumed shows no certificate.
			SessionTicketsDisabled: true,
		})
		to += " https://" + backends[i].address
	}
	port := freePort(t)
	c := startCaddy(t, "", poolSite(port,
		to+"\n"+check("http /health", fmt.Sprintf("%stls {\nserver_name app.test\nca %s\n}", twice, ca))+brief,
		fmt.Sprintf("lb_retries 2\ntransport http {\ntls_server_name app.test\ntls_trust_pool file %s\n}", ca)))
	l := startLoad(t, fmt.Sprintf("http://127.0.0.1:%d/", port), 100, 0)
	eventually(t, "all backends answer", func() bool { return len(l.counts()) == 3 })

	victim := backends[1]
	served[1].Store(unknown)
	victim.serves(func(w http.ResponseWriter, r *http.Request) {
		if victim.requests.Load()%2 == 0 { // so that requests need new connections
			w.Header().Set("Connection", "close")
		}
		victim.name(w, r)
	})
	eventually(t, "the backend is down", func() bool { return c.downs(victim.address) == 1 })
	noTraffic(c, l, victim.address)
	if r := c.reason(victim.address, "backend_down"); !strings.Contains(r, "certificate") {
		t.Errorf("the reason is %q", r)
	}
	if n := c.metric("failures_total")[victim.address]; n == 0 {
		t.Error("no handshake of a request has failed")
	}

	served[1].Store(trusted)
	victim.serves(victim.name)
	eventually(t, "the backend is up", func() bool { return c.ups(victim.address) == 1 })
	before := l.counts()[victim.address]
	eventually(t, "the backend has traffic again", func() bool { return l.counts()[victim.address] > before+30 })
	l.stop()
	l.mustNotFail()
	// The failed handshakes of requests may have it ejected, too.
	var verdicts []string
	for _, event := range c.history(victim.address) {
		if event == "backend_down" || event == "backend_up" {
			verdicts = append(verdicts, event)
		}
	}
	if got := strings.Join(verdicts, " "); got != "backend_down backend_up" {
		t.Errorf("the history is %s", got)
	}
	c.expectHistory(backends[0].address)
	c.expectHistory(backends[2].address)
}
