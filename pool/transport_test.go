// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"bufio"
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
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy/fastcgi"
	"golang.org/x/net/dns/dnsmessage"
	"google.golang.org/grpc"
	grpchealth "google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// names answers questions of DNS, over UDP: every name below node.test is
// 127.0.0.1, or nobody while deaf is set, and _web._tcp.svc.test is n1.node.test at
// a port.
type names struct {
	net.PacketConn
	port uint16
	more atomic.Uint32 // the port of a second target; 0 for none
	deaf atomic.Bool
}

func serveNames(t *testing.T, port int) *names {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	n := &names{PacketConn: conn, port: uint16(port)}
	go n.serve()
	return n
}

func (n *names) serve() {
	buf := make([]byte, 1500)
	for {
		size, from, err := n.ReadFrom(buf)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buf[:size]) != nil {
			continue
		}
		m.Response, m.Authoritative, m.Additionals = true, true, nil
		q := m.Questions[0]
		head := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, Type: q.Type, TTL: 1}
		switch {
		case q.Type == dnsmessage.TypeSRV && q.Name.String() == "_web._tcp.svc.test.":
			m.Answers = []dnsmessage.Resource{{Header: head, Body: &dnsmessage.SRVResource{Port: n.port, Target: dnsmessage.MustNewName("n1.node.test.")}}}
			if port := n.more.Load(); port != 0 {
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.SRVResource{Port: uint16(port), Target: dnsmessage.MustNewName("n2.node.test.")}})
			}
		case !strings.HasSuffix(q.Name.String(), ".node.test.") || n.deaf.Load():
			m.RCode = dnsmessage.RCodeNameError
		case q.Type == dnsmessage.TypeA:
			m.Answers = []dnsmessage.Resource{{Header: head, Body: &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}}}}
		}
		if answer, err := m.Pack(); err == nil {
			_, _ = n.WriteTo(answer, from)
		}
	}
}

// keys are certificates in files: of a CA, of n1.node.test, of inner.test and of a
// client.
type keys struct {
	dir  string
	ca   *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func makeKeys(t *testing.T) *keys {
	t.Helper()
	k := &keys{dir: t.TempDir(), pool: x509.NewCertPool()}
	k.make(t, "ca")
	k.pool.AddCert(k.ca)
	for _, name := range []string{"n1.node.test", "inner.test", "client"} {
		k.make(t, name)
	}
	return k
}

// file returns the path of a file, as it is in JSON.
func (k *keys) file(name string) string { return filepath.ToSlash(filepath.Join(k.dir, name)) }

func (k *keys) make(t *testing.T, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if k.ca == nil {
		cert.IsCA, cert.BasicConstraintsValid, cert.KeyUsage = true, true, x509.KeyUsageCertSign
		k.ca, k.key = cert, key
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, k.ca, key.Public(), k.key)
	if err != nil {
		t.Fatal(err)
	}
	if cert.IsCA {
		if k.ca, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		name + ".pem": {Type: "CERTIFICATE", Bytes: der},
		name + ".key": {Type: "EC PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(k.file(file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// certificate returns that of a name.
func (k *keys) certificate(t *testing.T, name string) *tls.Certificate {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(k.file(name+".pem"), k.file(name+".key"))
	if err != nil {
		t.Fatal(err)
	}
	return &cert
}

// announcing takes connections only with the PROXY protocol.
type announcing struct{ net.Listener }

func (l announcing) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		r := bufio.NewReader(conn)
		if start, err := r.Peek(5); err == nil && string(start) == "PROXY" {
			if _, err = r.ReadString('\n'); err == nil {
				return announced{conn, r}, nil
			}
		} else if head, err := r.Peek(16); err == nil && string(head[:12]) == "\r\n\r\n\x00\r\nQUIT\n" {
			if _, err = r.Discard(16 + int(head[14])<<8 + int(head[15])); err == nil {
				return announced{conn, r}, nil
			}
		}
		conn.Close()
	}
}

type announced struct {
	net.Conn
	r *bufio.Reader
}

func (c announced) Read(p []byte) (int, error) { return c.r.Read(p) }

// choosy takes connections only from 127.0.0.2.
type choosy struct{ net.Listener }

func (l choosy) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil || strings.HasPrefix(conn.RemoteAddr().String(), "127.0.0.2:") {
			return conn, err
		}
		conn.Close()
	}
}

// way is a way to reach backends.
type way struct {
	transport string // options of `transport http`, besides resolvers
	listen    func(net.Listener) net.Listener
	http2     bool // without TLS
	plainGRPC bool // gRPC is spoken without TLS
}

// ways returns all that a transport may need.
func ways(t *testing.T, k *keys) map[string]way {
	secure := func(change func(*tls.Config)) func(net.Listener) net.Listener {
		cfg := &tls.Config{NextProtos: []string{"h2", "http/1.1"}, GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if hello.ServerName == "inner.test" {
				return k.certificate(t, "inner.test"), nil
			}
			return k.certificate(t, "n1.node.test"), nil
		}}
		change(cfg)
		return func(l net.Listener) net.Listener { return tls.NewListener(l, cfg) }
	}
	nothing := func(*tls.Config) {}
	trust := fmt.Sprintf(`"ca":{"provider":"file","pem_files":[%q]}`, k.file("ca.pem"))
	name := `"server_name":"n1.node.test"`
	return map[string]way{
		"resolvers":      {plainGRPC: true},
		"tls_trust_pool": {transport: `,"tls":{` + trust + `,` + name + `}`, listen: secure(nothing)},
		"tls_server_name": {transport: `,"tls":{` + trust + `,"server_name":"inner.test"}`, listen: secure(func(cfg *tls.Config) {
			cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				if hello.ServerName != "inner.test" {
					return nil, fmt.Errorf("asked for %q", hello.ServerName)
				}
				return nil, nil
			}
		})},
		"tls_insecure_skip_verify": {transport: `,"tls":{"insecure_skip_verify":true}`, listen: secure(nothing)},
		"tls_client_auth": {
			transport: fmt.Sprintf(`,"tls":{%s,%s,"client_certificate_file":%q,"client_certificate_key_file":%q}`, trust, name, k.file("client.pem"), k.file("client.key")),
			listen:    secure(func(cfg *tls.Config) { cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, k.pool }),
		},
		"versions h2c":      {transport: `,"versions":["h2c","2"]`, http2: true, plainGRPC: true},
		"proxy_protocol v1": {transport: `,"proxy_protocol":"v1"`, listen: func(l net.Listener) net.Listener { return announcing{l} }, plainGRPC: true},
		"proxy_protocol v2": {transport: `,"proxy_protocol":"v2"`, listen: func(l net.Listener) net.Listener { return announcing{l} }, plainGRPC: true},
		"proxy_protocol and TLS": {transport: `,"proxy_protocol":"v2","tls":{` + trust + `,` + name + `}`, listen: func(l net.Listener) net.Listener {
			return secure(nothing)(announcing{l})
		}},
		"local_address": {transport: `,"local_address":"127.0.0.2"`, listen: func(l net.Listener) net.Listener { return choosy{l} }, plainGRPC: true},
	}
}

// serve begins to answer in a way, and returns the port.
func (w way) serve(t *testing.T, grpcHealth bool) int {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if w.listen != nil {
		l = w.listen(l)
	}
	if grpcHealth {
		server := grpc.NewServer()
		grpc_health_v1.RegisterHealthServer(server, grpchealth.NewServer())
		go func() { _ = server.Serve(l) }()
		t.Cleanup(server.Stop)
		return port
	}
	server := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(!w.http2)
	server.Protocols.SetHTTP2(true)
	server.Protocols.SetUnencryptedHTTP2(w.http2)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })
	return port
}

// result waits for a probe of the only backend of pool web, and returns why it has
// failed.
func result(t *testing.T) string {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); <-time.After(2 * time.Millisecond) {
		p := pool.Current("web")
		if p == nil || len(p.View().Members.All) != 1 {
			continue
		}
		if r := p.View().Members.All[0].Statuses()[0].Report(); r.Passes+r.Fails > 0 {
			return r.LastError
		}
	}
	return "there was no probe"
}

// Checks reach backends wherever and however the proxy does.
func TestChecksReachBackendsAsTheProxyDoes(t *testing.T) {
	k := makeKeys(t)
	for name, way := range ways(t, k) {
		for _, check := range []string{"http", "tcp", "grpc"} {
			port := way.serve(t, check == "grpc")
			dns := fmt.Sprintf(`{"addresses":["udp/%s"]}`, serveNames(t, port).LocalAddr())
			for from, members := range map[string]string{
				"a name": fmt.Sprintf(`"backends":[{"dial":"n1.node.test:%d"}]`, port),
				"a":      fmt.Sprintf(`"sources":[{"source":"a","name":"n1.node.test","port":"%d","resolver":%s}]`, port, dns),
				"srv":    fmt.Sprintf(`"sources":[{"source":"srv","service":"web","proto":"tcp","name":"svc.test","resolver":%s}]`, dns),
			} {
				t.Run(name+" "+check+" "+from, func(t *testing.T) {
					resolver := ""
					if from == "a name" {
						resolver = `,"resolver":` + dns
					}
					p, err := lbtest.Load(t, nil, fmt.Sprintf(`{"transport":{"protocol":"http"%s%s},"dynamic_upstreams":{"source":"pool","name":"web",%s,
						"health":[{"check":%q,"interval":"1m","timeout":"5s"}]}}`, way.transport, resolver, members, check), nil)
					if err != nil {
						t.Fatal(err)
					}
					defer p.Close()
					if why := result(t); why != "" {
						t.Errorf("the check fails: %s", why)
					}
					if check == "grpc" {
						return
					}
					if w, err := p.Do(newRequest()); err != nil || w.Code != http.StatusOK {
						t.Errorf("a request: status %d, %v", w.Code, err)
					}
				})
			}
		}
	}
	lbtest.NoLeaks(t)
}

// What a check says itself goes before the proxy's transport.
func TestChecksSayOtherwise(t *testing.T) {
	k := makeKeys(t)
	all := ways(t, k)
	health := (&way{}).serve(t, false)
	ca := fmt.Sprintf(`"ca":%q`, k.file("ca.pem"))
	client := fmt.Sprintf(`"client_certificate":%q,"client_certificate_key":%q`, k.file("client.pem"), k.file("client.key"))
	for _, tt := range []struct{ way, transport, check, want string }{
		{"tls_trust_pool", all["tls_trust_pool"].transport, fmt.Sprintf(`"tls":{"off":true},"port":%d`, health), ""},
		{"tls_trust_pool", all["tls_trust_pool"].transport, fmt.Sprintf(`"scheme":"http","port":%d`, health), ""},
		{"tls_trust_pool", all["tls_trust_pool"].transport, fmt.Sprintf(`"port":%d`, health), "HTTP response to HTTPS client"},
		{"tls_trust_pool", "", `"scheme":"https","tls":{` + ca + `}`, ""},
		{"tls_trust_pool", `,"tls":{"insecure_skip_verify":true}`, `"tls":{` + ca + `,"server_name":"elsewhere.test"}`, "elsewhere.test"},
		{"tls_server_name", all["tls_trust_pool"].transport, `"tls":{"server_name":"inner.test"}`, ""},
		{"tls_client_auth", all["tls_trust_pool"].transport, `"tls":{}`, "."}, // what HTTP/2 says of the alert is a matter of time
		{"tls_client_auth", all["tls_trust_pool"].transport, `"tls":{` + client + `}`, ""},
		{"tls_trust_pool", strings.ReplaceAll(all["tls_trust_pool"].transport, "n1.node.test", "{http.reverse_proxy.upstream.host}"), "", ""},
		{"proxy_protocol v1", all["proxy_protocol v1"].transport, fmt.Sprintf(`"port":%d`, health), ""}, // a port of its own has none
		{"versions h2c", all["versions h2c"].transport, fmt.Sprintf(`"scheme":"http","port":%d`, health), ""},
		{"resolvers", fmt.Sprintf(`,"tls":{"except_ports":["%d"]}`, health), fmt.Sprintf(`"port":%d`, health), ""},
	} {
		t.Run(tt.way+" "+tt.check, func(t *testing.T) {
			port := all[tt.way].serve(t, false)
			if tt.check != "" {
				tt.check = "," + tt.check
			}
			p, err := lbtest.Load(t, nil, fmt.Sprintf(`{"transport":{"protocol":"http"%s,"resolver":{"addresses":["udp/%s"]}},
				"dynamic_upstreams":{"source":"pool","name":"web","backends":[{"dial":"n1.node.test:%d"}],
				"health":[{"check":"http","interval":"1m","timeout":"5s"%s}]}}`, tt.transport, serveNames(t, port).LocalAddr(), port, tt.check), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			if why := result(t); (why == "") != (tt.want == "") || !regexp.MustCompile(tt.want).MatchString(why) {
				t.Errorf("got %q, want %q", why, tt.want)
			}
		})
	}
	lbtest.NoLeaks(t)
}

// A check that cannot be made as the proxy's transport reaches backends is refused,
// and so is one that would have to do as two of them do.
func TestTransportsThatChecksCannotUse(t *testing.T) {
	k := makeKeys(t)
	const web = `"dynamic_upstreams":{"source":"pool","name":"web"}`
	trust := func(name string) string {
		return fmt.Sprintf(`,"tls":{"ca":{"provider":"file","pem_files":[%q]}}`, k.file(name))
	}
	transports := func(options ...string) (configs []string) {
		for _, o := range options {
			configs = append(configs, `{"transport":{"protocol":"http"`+o+`},`+web+`}`)
		}
		return configs
	}
	const agree = ""
	for _, tt := range []struct {
		name, check string
		proxies     []string
		want        string
	}{
		{"FastCGI, http", `{"check":"http"}`, []string{`{"transport":{"protocol":"fastcgi"},` + web + `}`}, "health http speaks HTTP, and backends behind `transport fastcgi` do not; write `health tcp`"},
		{"FastCGI, grpc", `{"check":"grpc"}`, []string{`{"transport":{"protocol":"fastcgi"},` + web + `}`}, "health grpc speaks HTTP"},
		{"FastCGI, tcp", `{"check":"tcp"}`, []string{`{"transport":{"protocol":"fastcgi"},` + web + `}`}, agree},
		{"HTTP/3", `{"check":"http"}`, transports(`,"tls":{},"versions":["3"]`), "health http does not support HTTP/3"},
		{"HTTP/3, and TCP", `{"check":"http","tls":{}}`, transports(`,"tls":{},"versions":["3"]`), agree},
		{"a name of the request", `{"check":"http"}`, transports(`,"tls":{"server_name":"{http.request.host}"}`), "write `tls { server_name <name> }` in the check"},
		{"a name of the request, and its own", `{"check":"http","tls":{"server_name":"a"}}`, transports(`,"tls":{"server_name":"{http.request.host}"}`), agree},
		{"a name of the request, tcp", `{"check":"tcp"}`, transports(`,"tls":{"server_name":"{http.request.host}"}`), "write `tls { server_name <name> }` in the check"},
		{"resolvers", `{"check":"tcp"}`, transports("", `,"resolver":{"addresses":["127.0.0.1:53"]}`), "differ in resolvers; write the same in all of them, or a pool for each"},
		{"resolvers, agent", `{"check":"agent","port":9}`, transports("", `,"resolver":{"addresses":["127.0.0.1:53"]}`), "health agent uses"},
		{"the same resolvers", `{"check":"tcp"}`, transports(`,"resolver":{"addresses":["a","b"]}`, `,"resolver":{"addresses":["b","a"]}`), agree},
		{"local_address", `{"check":"tcp"}`, transports("", `,"local_address":"127.0.0.2"`), "differ in local_address"},
		{"proxy_protocol", `{"check":"tcp"}`, transports(`,"proxy_protocol":"v1"`, `,"proxy_protocol":"v2"`), "differ in proxy_protocol"},
		{"proxy_protocol elsewhere", `{"check":"tcp","port":9}`, transports(`,"proxy_protocol":"v1"`, `,"proxy_protocol":"v2"`), agree},
		{"network_proxy", `{"check":"http"}`, transports("", `,"network_proxy":{"from":"url","url":"http://10.0.0.1:1"}`), "differ in network_proxy"},
		{"network_proxy, tcp", `{"check":"tcp"}`, transports("", `,"network_proxy":{"from":"url","url":"http://10.0.0.1:1"}`), agree},
		{"TLS", `{"check":"http"}`, transports("", `,"tls":{}`), "differ in tls; write the same in all of them, or `tls` or `tls off` in the check"},
		{"TLS off", `{"check":"http","tls":{"off":true}}`, transports("", `,"tls":{}`), agree},
		{"server names", `{"check":"http"}`, transports(`,"tls":{"server_name":"a"}`, `,"tls":{"server_name":"b"}`), "differ in tls_server_name; write the same in all of them, or `tls { server_name <name> }` in the check"},
		{"server names, and its own", `{"check":"http","tls":{"server_name":"c"}}`, transports(`,"tls":{"server_name":"a"}`, `,"tls":{"server_name":"b"}`), agree},
		{"trust", `{"check":"http"}`, transports(trust("ca.pem"), trust("client.pem")), "differ in tls_trust_pool; write the same in all of them, or `tls { ca <file> }` in the check"},
		{"no trust", `{"check":"http"}`, transports(`,"tls":{"insecure_skip_verify":true}`, `,"tls":{}`), "differ in tls_insecure_skip_verify"},
		{"the same trust", `{"check":"http"}`, transports(trust("ca.pem"), trust("ca.pem")), agree},
		{"client certificates", `{"check":"tcp"}`, transports(`,"tls":{}`, fmt.Sprintf(`,"tls":{"client_certificate_file":%q,"client_certificate_key_file":%q}`, k.file("client.pem"), k.file("client.key"))), "differ in tls_client_auth"},
		{"versions", `{"check":"http"}`, transports("", `,"versions":["h2c"]`), "differ in versions"},
		{"versions, tcp", `{"check":"tcp"}`, transports("", `,"versions":["h2c"]`), agree},
		{"timeouts and buffers", `{"check":"http"}`, transports("", `,"dial_timeout":"1s","read_buffer_size":1,"keep_alive":{"enabled":false}`), agree},
		{"three", `{"check":"http"}`, transports(`,"tls":{}`, `,"tls":{}`, ""), "differ in tls;"},
		{"no check", "", transports("", `,"tls":{}`), agree},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := lbtest.LoadAll(t, app(`"web":{"backends":[{"dial":"n1.node.test:1"}],"health":[`+tt.check+`]}`), nil, tt.proxies...)
			if (err == nil) != (tt.want == "") || err != nil && !(strings.Contains(err.Error(), tt.want) && strings.Contains(err.Error(), "pool web: ")) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// verdict returns what the first check says of the first backend, for its identity.
func verdict(t *testing.T) *health.Status {
	t.Helper()
	return pool.Current("web").View().Members.All[0].Statuses()[0]
}

// A check whose transport changes is another check; as long as it does not, what is
// known outlives reloads. One that is rejected changes nothing.
func TestVerdictsBelongToTransports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sick["a:1"] = true
		with := func(options string) string {
			return `{"transport":{"protocol":"http"` + options + `},"dynamic_upstreams":{"source":"pool","name":"web",` + dials("a:1", "b:1") + "," + check(t, "") + `}}`
		}
		const resolver = `,"resolver":{"addresses":["127.0.0.1:53"]}`
		p := load(t, nil, with(resolver))
		seconds(5.5)
		first := verdict(t)
		if first.Up() {
			t.Error("a sick backend is up")
		}
		count := func() (n int) { w.set(func() { n = w.probes["a:1"] }); return n }
		probes := count()
		p = reload(t, p, with(resolver+`,"dial_timeout":"1s","keep_alive":{"enabled":false}`))
		if verdict(t) != first || pool.Current("web").View().Members.All[0].Up() {
			t.Error("another verdict, though the backends are reached as before")
		}
		seconds(10)
		if got := count() - probes; got != 10 {
			t.Errorf("%d probes in 10 s, want 10", got)
		}
		if _, err := lbtest.LoadAll(t, nil, nil, with(`,"local_address":"127.0.0.1"`), with("")); err == nil {
			t.Fatal("a pool was defined twice")
		}
		if verdict(t) != first || first.Up() {
			t.Error("a rejected configuration has changed the verdict")
		}
		seconds(1)
		p = reload(t, p, with(""))
		if verdict(t) == first {
			t.Error("the same verdict for another way to the backends")
		}
		p.Close()
	})
	lbtest.NoLeaks(t)
}

// A shared pool leads to its backends as its proxies do, whatever their number.
func TestSharedPoolsTakeTheTransportOfTheirProxies(t *testing.T) {
	k := makeKeys(t)
	way := ways(t, k)["tls_client_auth"]
	port := way.serve(t, false)
	config := fmt.Sprintf(`{"transport":{"protocol":"http"%s,"resolver":{"addresses":["udp/%s"]}},"dynamic_upstreams":{"source":"pool","name":"web"}}`, way.transport, serveNames(t, port).LocalAddr())
	apps := app(fmt.Sprintf(`"web":{"backends":[{"dial":"n1.node.test:%d"}],"health":[{"check":"http","interval":"1m","timeout":"5s"},{"check":"tcp","interval":"1m"}]}`, port))
	if _, err := lbtest.LoadAll(t, apps, nil, config, config, config); err != nil {
		t.Fatal(err)
	}
	if why := result(t); why != "" {
		t.Errorf("the check fails: %s", why)
	}
	if err := pool.Current("web").Manager().Verify(t.Context(), membership.Addition{Address: fmt.Sprintf("n1.node.test:%d", port)}); err != nil {
		t.Errorf("a registration would be refused: %v", err)
	}
}

// What is kept in the storage of a check is found again, though its transport is
// known only after the pool.
func TestVerdictsOfTransportsAreKept(t *testing.T) {
	newMemoryStorage(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sick["a:1"] = true
		start := func() *lbtest.Proxy {
			return load(t, kept(t, `"web":{`+dials("a:1", "b:1")+","+check(t, "")+`}`),
				`{"transport":{"protocol":"http","local_address":"127.0.0.2"},"dynamic_upstreams":{"source":"pool",`+webByName+`}}`)
		}
		p := start()
		seconds(6)
		operate(t, "b:1", drain)
		p.Close()
		seconds(5)
		p = start()
		if member(t, "a:1").Up() || member(t, "b:1").AdminState() != health.Drain {
			t.Error("what was known of the backends is forgotten")
		}
		p.Close()
	})
	lbtest.NoLeaks(t)
}

// An HTTP check goes through the transport's network proxy, with TLS and without.
func TestChecksGoThroughTheNetworkProxy(t *testing.T) {
	k := makeKeys(t)
	from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	for name, w := range map[string]way{
		"plain": {listen: func(l net.Listener) net.Listener { return choosy{l} }},
		"TLS": {transport: ways(t, k)["tls_trust_pool"].transport, listen: func(l net.Listener) net.Listener {
			return ways(t, k)["tls_trust_pool"].listen(choosy{l})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			port := w.serve(t, false)
			forward := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				backend, err := from.DialContext(r.Context(), "tcp4", fmt.Sprintf("127.0.0.1:%d", port))
				if err != nil {
					t.Error(err)
					return
				}
				defer backend.Close()
				client, _, err := rw.(http.Hijacker).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer client.Close()
				if r.Method == http.MethodConnect {
					_, _ = io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n")
					go func() { _, _ = io.Copy(backend, client) }()
				} else if err := r.Write(backend); err != nil {
					t.Error(err)
				}
				_, _ = io.Copy(client, backend)
			}))
			defer forward.Close()
			p, err := lbtest.Load(t, nil, fmt.Sprintf(`{"transport":{"protocol":"http"%s,"network_proxy":{"from":"url","url":%q}},
				"dynamic_upstreams":{"source":"pool","name":"web","backends":[{"dial":"n1.node.test:%d"}],
				"health":[{"check":"http","interval":"1m","timeout":"5s"}]}}`, w.transport, forward.URL, port), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			if why := result(t); why != "" {
				t.Errorf("the check fails: %s", why)
			}
		})
	}
	lbtest.NoLeaks(t)
}

// While targets cannot be looked up, each keeps the addresses it had.
func TestTargetsKeepTheirAddresses(t *testing.T) {
	w := way{}
	port := w.serve(t, false)
	n := serveNames(t, port)
	p, err := lbtest.Load(t, nil, fmt.Sprintf(`{"transport":{"protocol":"http"},"dynamic_upstreams":{"source":"pool","name":"web","refresh":"100ms",
		"sources":[{"source":"srv","service":"web","proto":"tcp","name":"svc.test","resolver":{"addresses":["udp/%s"]}}]}}`, n.LocalAddr()), nil)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(step string) {
		t.Helper()
		if w, err := p.Do(newRequest()); err != nil || w.Code != http.StatusOK {
			t.Errorf("%s: status %d, %v", step, w.Code, err)
		}
	}
	expect("found")
	n.deaf.Store(true)
	await := func(message string) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); !slices.Contains(p.Logged(), message); <-time.After(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("logged %q", p.Logged())
			}
		}
	}
	await("target lookup failed; keeping the last known addresses")
	expect("not found again")
	n.deaf.Store(false)
	await("target lookup works again")
	expect("found again")
	p.Close()
	lbtest.NoLeaks(t)
}
