// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/internal/httpx"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/httptransport"
)

func init() { caddy.RegisterModule(new(HTTP)) }

// HTTP is a health check with one request on its own connection. It uses HTTPS if the proxy
// does, and the host of the backend's address. It reads the first 64 KiB of the body if
// expect_body is set, else none.
type HTTP struct {
	Schedule

	// URI is the path and query to request. Default: /.
	URI string `json:"uri,omitempty"`
	// Method is the request method. Default: GET, or POST with a body.
	Method string `json:"method,omitempty"`
	// Host is the Host field. Default: the address of the backend.
	Host string `json:"host,omitempty"`
	// Header contains additional header fields. The field Host is the same as host. Values may have
	// placeholders such as {env.TOKEN}, which are replaced when the configuration is loaded.
	Header map[string]string `json:"header,omitempty"`
	// Body is the request body. It may have placeholders, as header.
	Body string `json:"body,omitempty"`
	// ExpectStatus lists the status codes of a healthy backend: codes such as
	// 204, ranges such as 200-399, classes such as 2xx. Default: 2xx.
	ExpectStatus []string `json:"expect_status,omitempty"`
	// ExpectBody is a regular expression that the body must match.
	ExpectBody string `json:"expect_body,omitempty"`
	// FollowRedirects follows up to 10 redirects and checks the last response. Default: off, a
	// redirect is the response.
	FollowRedirects bool `json:"follow_redirects,omitempty"`
	// Scheme is "http" for HTTP/1.1 without TLS, or "https". Default: as the proxy.
	Scheme string `json:"scheme,omitempty"`
	// TLS enables TLS where the proxy uses none, disables it where the proxy uses it, and
	// sets TLS options. Default: as the proxy.
	TLS *TLS `json:"tls,omitempty"`

	// Set by Provision, then read-only.
	uri       *url.URL
	authority string // empty: the backend's address
	status    httpx.StatusCodes
	body      *regexp.Regexp
	header    http.Header // with placeholders replaced
	content   string      // the body, with placeholders replaced
	own       *TLS        // TLS options with the scheme applied
}

// CaddyModule returns the Caddy module information.
func (*HTTP) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".http", New: func() caddy.Module { return new(HTTP) }}
}

// Provision sets up the check.
func (c *HTTP) Provision(ctx caddy.Context) (err error) {
	if err := c.Schedule.Provision(ctx); err != nil {
		return err
	}
	setDefault(&c.URI, "/")
	if c.Body != "" {
		setDefault(&c.Method, http.MethodPost)
	}
	setDefault(&c.Method, http.MethodGet)
	if len(c.ExpectStatus) == 0 {
		c.ExpectStatus = []string{"2xx"}
	}
	if err := cmp.Or(c.parse(), c.replace()); err != nil {
		return err
	}
	return c.own.load()
}

// Probe implements [Check].
func (c *HTTP) Probe(ctx context.Context, t Target) error {
	u := url.URL{Scheme: "http", Host: t.hostPort(), Path: c.uri.Path, RawPath: c.uri.RawPath, RawQuery: c.uri.RawQuery}
	if t.secure(c.own) {
		u.Scheme = "https"
	}
	var body io.Reader
	if c.content != "" {
		body = strings.NewReader(c.content)
	}
	req, err := http.NewRequestWithContext(ctx, c.Method, u.String(), body)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "Caddy-Ballast")
	maps.Copy(req.Header, c.header)
	if c.authority != "" {
		req.Host = c.authority
	}
	client := c.client(ctx, t)
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		// Omit the URL, whose query may contain a secret: logs, events, the admin API and the
		// dashboard show the error.
		if urlErr, ok := errors.AsType[*url.Error](err); ok {
			err = urlErr.Err
		}
		return ended(ctx, err)
	}
	defer res.Body.Close()
	if !c.status.Contain(res.StatusCode) {
		return fmt.Errorf("status %d, expected %s", res.StatusCode, strings.Join(c.ExpectStatus, " "))
	}
	if c.body != nil {
		data, err := io.ReadAll(io.LimitReader(res.Body, maxRead))
		if err != nil {
			return fmt.Errorf("reading the body: %w", ended(ctx, err))
		}
		if !c.body.Match(data) {
			return fmt.Errorf("the body does not match %q", c.ExpectBody)
		}
	}
	return nil
}

// Inherits implements [Inheriting].
func (c *HTTP) Inherits(t *httptransport.Transport) ([]string, error) {
	options := append(c.DialOptions(), c.own.inherits()...)
	if c.Scheme == "" {
		options = append(options, "versions")
	}
	return append(options, "network_proxy"), c.own.usable(t, "http")
}

// client returns the client of one probe. It dials within the timeout of the probe; net/http would
// continue a dial and a handshake after the end of the request.
func (c *HTTP) client(ctx context.Context, t Target) *http.Client {
	var protocols []string
	if t.transport.HTTP2() {
		protocols = []string{"h2", "http/1.1"}
	}
	cfg := t.tlsConfig(c.own, protocols...)
	proxied := false // by a network proxy
	dial := func(cfg *tls.Config) func(context.Context, string, string) (net.Conn, error) {
		return func(_ context.Context, network, address string) (net.Conn, error) {
			if !proxied { // ignore the URL: a redirect stays on the same backend
				return t.open(ctx, cfg)
			}
			to := t
			to.Network, to.Address = network, address
			if cfg != nil {
				cfg = cfg.Clone()
				cfg.NextProtos = nil
				cfg.ServerName, _, _ = net.SplitHostPort(address)
			}
			return to.open(ctx, cfg)
		}
	}
	transport := &http.Transport{
		Proxy: func(req *http.Request) (u *url.URL, err error) {
			if !caddy.IsUnixNetwork(t.Network) {
				u, err = t.transport.ProxyOf(req)
			}
			proxied = u != nil
			return u, err
		},
		DialContext:            dial(nil),
		DialTLSContext:         dial(cfg),
		TLSClientConfig:        cfg, // for a connection through a network proxy
		ForceAttemptHTTP2:      t.transport.HTTP2(),
		MaxResponseHeaderBytes: t.transport.MaxHeader(),
		DisableKeepAlives:      true, // a probe also tests whether a connection can be made
	}
	if c.Scheme == "" && (t.Scheme == "h2c" || t.transport.H2C()) {
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetUnencryptedHTTP2(true)
	}
	return &http.Client{
		Transport: transport,
		CheckRedirect: func(_ *http.Request, via []*http.Request) error {
			switch {
			case !c.FollowRedirects:
				return http.ErrUseLastResponse
			case len(via) >= 10:
				return errors.New("stopped after 10 redirects")
			}
			return nil
		},
	}
}

// Interface guards
var (
	_ Inheriting            = (*HTTP)(nil)
	_ caddy.Provisioner     = (*HTTP)(nil)
	_ caddyfile.Unmarshaler = (*HTTP)(nil)
)
