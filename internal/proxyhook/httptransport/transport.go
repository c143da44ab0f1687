// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package httptransport

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// Transport is what health checks need of a proxy's transport to reach backends as it does. If
// the transport is neither Caddy's `http` nor embeds it, only its TLS setting is known. A nil
// Transport has no options. Read-only; safe for concurrent use.
type Transport struct {
	// Name is the last part of the module's ID.
	Name string
	// Options are the options that affect whether a backend can be reached, by their names in the
	// Caddyfile. Values that are secret or not text are hashed.
	Options map[string]string

	http   *reverseproxy.HTTPTransport // nil for another kind
	tls    bool
	dialer *net.Dialer
}

// TransportOf returns the Transport for the transport of a proxy, a module with the given name. withTLS reports
// that the proxy uses TLS.
func TransportOf(next http.RoundTripper, name string, withTLS bool) (*Transport, error) {
	t := &Transport{Name: name, Options: make(map[string]string), http: Of(next), tls: withTLS}
	if t.tls {
		t.Options["tls"] = "on"
	}
	if t.http == nil {
		return t, nil
	}
	if err := t.useDialOptions(); err != nil {
		return nil, err
	}
	t.noteOptions()
	return t, nil
}

// Of returns rt as Caddy's `http` transport, or the one that it embeds, or nil.
func Of(rt http.RoundTripper) *reverseproxy.HTTPTransport {
	if t, ok := rt.(*reverseproxy.HTTPTransport); ok {
		return t
	}
	v := reflect.Indirect(reflect.ValueOf(rt))
	if v.Kind() != reflect.Struct {
		return nil
	}
	field, ok := v.Type().FieldByName("HTTPTransport")
	if !ok || !field.Anonymous {
		return nil
	}
	switch f := v.FieldByIndex(field.Index); {
	case f.Kind() != reflect.Pointer && f.CanAddr():
		t, _ := f.Addr().Interface().(*reverseproxy.HTTPTransport)
		return t
	case f.Kind() == reflect.Pointer:
		t, _ := f.Interface().(*reverseproxy.HTTPTransport)
		return t
	}
	return nil
}

// noteOptions sets the options of a transport `http`.
func (t *Transport) noteOptions() {
	h, note := t.http, func(name, value string) {
		if value != "" {
			t.Options[name] = value
		}
	}
	if h.Resolver != nil {
		note("resolvers", sorted(h.Resolver.Addresses))
	}
	note("local_address", h.LocalAddress)
	note("proxy_protocol", h.ProxyProtocol)
	note("network_proxy", hashOf(t.networkProxy()))
	switch {
	case slices.Contains(h.Versions, "h2c"):
		note("versions", "h2c")
	case slices.Contains(h.Versions, "3"):
		note("versions", "3")
	case !slices.Contains(h.Versions, "2"):
		note("versions", "1.1")
	}
	if h.TLS == nil {
		return
	}
	note("tls_except_ports", sorted(h.TLS.ExceptPorts))
	note("tls_server_name", h.TLS.ServerName)
	if h.TLS.InsecureSkipVerify {
		note("tls_insecure_skip_verify", "on")
	}
	note("tls_client_auth", strings.TrimSpace(h.TLS.ClientCertificateFile+" "+h.TLS.ClientCertificateKeyFile+h.TLS.ClientCertificateAutomate))
	note("tls_curves", strings.Join(h.TLS.Curves, " "))
	note("tls_renegotiation", strings.TrimPrefix(h.TLS.Renegotiation, "never"))
	if cfg := h.Transport.TLSClientConfig; cfg != nil && cfg.RootCAs != nil {
		//lint:ignore SA1019 the pool is no system's, and there is no other way to tell what is in it
		subjects := cfg.RootCAs.Subjects()
		names := make([]string, len(subjects))
		for i, s := range subjects {
			names[i] = hex.EncodeToString(s)
		}
		slices.Sort(names)
		note("tls_trust_pool", hashOf("of "+strings.Join(names, " ")))
	}
}

// SameTrust reports whether two transports trust the same certificates.
func (t *Transport) SameTrust(other *Transport) bool {
	a, b := t.TLSConfig("", ""), other.TLSConfig("", "")
	return a.RootCAs.Equal(b.RootCAs)
}

// networkProxy returns the URL of the forward proxy to the backends, or "".
func (t *Transport) networkProxy() string {
	ctx := context.WithValue(context.Background(), caddy.ReplacerCtxKey, caddy.NewReplacer())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://backend.invalid/", nil)
	if err != nil {
		return ""
	}
	u, err := t.http.Transport.Proxy(req)
	if err != nil || u == nil {
		return ""
	}
	return u.String()
}

// MayProxy reports whether rt may connect to backends through a forward proxy. Caddy's transport then writes to the
// variables of requests. Transports of third parties may do so in any case.
func MayProxy(rt http.RoundTripper) bool {
	t := Of(rt)
	return t == nil || t.Transport == nil || (&Transport{http: t}).networkProxy() != ""
}

func sorted(list []string) string {
	list = slices.Clone(list)
	slices.Sort(list)
	return strings.Join(list, " ")
}

func hashOf(text string) string {
	if text == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// DialTimeout returns the dial_timeout; 0 for none.
func (t *Transport) DialTimeout() time.Duration {
	if t == nil || t.http == nil {
		return 0
	}
	return time.Duration(t.http.DialTimeout)
}

// Dials reports whether the transport connects to the addresses of backends over TCP or a socket, as
// Caddy's HTTP transport does unless it is Indirect. Of other transports that is not known.
func (t *Transport) Dials() bool { return t != nil && t.http != nil && !t.Indirect() }

// Indirect reports whether the transport uses a forward proxy, or HTTP/3 alone, so that a TCP connection to the
// address of a backend proves nothing.
func (t *Transport) Indirect() bool {
	return t != nil && (t.Options["network_proxy"] != "" || t.Options["versions"] == "3")
}

// TLS reports whether the transport uses TLS to backends at a port.
func (t *Transport) TLS(port string) bool {
	switch {
	case t == nil || !t.tls:
		return false
	case t.http == nil || t.http.TLS == nil:
		return true
	}
	return !slices.Contains(t.http.TLS.ExceptPorts, port)
}

// TLSConfig returns a new TLS configuration for a backend. ServerName is empty if the transport
// sets none; the host of the backend is then used.
func (t *Transport) TLSConfig(host, port string) *tls.Config {
	if t == nil || t.http == nil || t.http.Transport.TLSClientConfig == nil {
		return new(tls.Config)
	}
	cfg := t.http.Transport.TLSClientConfig.Clone()
	cfg.ServerName, _ = serverName(cfg.ServerName, host, port)
	return cfg
}

// CheckServerName returns an error if tls_server_name has placeholders that have no value outside
// of requests.
func (t *Transport) CheckServerName() error {
	if t == nil || t.http == nil || t.http.TLS == nil {
		return nil
	}
	if _, err := serverName(t.http.TLS.ServerName, "localhost", "443"); err != nil {
		return fmt.Errorf("the transport's tls_server_name %s depends on the request, which a check does not have; write `tls { server_name <name> }` in the check", t.http.TLS.ServerName)
	}
	return nil
}

// serverName replaces the placeholders of the upstream in a server name.
func serverName(name, host, port string) (string, error) {
	if !strings.Contains(name, "{") {
		return name, nil
	}
	repl := caddy.NewReplacer()
	repl.Set("http.reverse_proxy.upstream.host", host)
	repl.Set("http.reverse_proxy.upstream.port", port)
	repl.Set("http.reverse_proxy.upstream.hostport", net.JoinHostPort(host, port))
	repl.Set("http.reverse_proxy.upstream.address", net.JoinHostPort(host, port))
	return repl.ReplaceOrErr(name, true, true)
}

// H2C reports whether the transport uses HTTP/2 without TLS.
func (t *Transport) H2C() bool {
	return t != nil && t.http != nil && slices.Contains(t.http.Versions, "h2c")
}

// HTTP2 reports whether the transport offers HTTP/2 with TLS.
func (t *Transport) HTTP2() bool {
	return t == nil || t.http == nil || slices.Contains(t.http.Versions, "2") || slices.Contains(t.http.Versions, "h2c")
}

// ProxyOf returns the forward proxy for a request, or nil.
func (t *Transport) ProxyOf(req *http.Request) (*url.URL, error) {
	if t == nil || t.http == nil || t.http.Transport.Proxy == nil {
		return nil, nil
	}
	ctx := context.WithValue(req.Context(), caddy.ReplacerCtxKey, caddy.NewReplacer())
	return t.http.Transport.Proxy(req.WithContext(context.WithValue(ctx, caddyhttp.VarsCtxKey, make(map[string]any))))
}

// MaxHeader is the limit of a response header in bytes; 0 for the default.
func (t *Transport) MaxHeader() int64 {
	if t == nil || t.http == nil {
		return 0
	}
	return t.http.MaxResponseHeaderSize
}
