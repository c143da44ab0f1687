// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
)

// UnmarshalCaddyfile sets up the check from Caddyfile tokens. Syntax:
//
//	health http [<uri>] {
//		uri              <uri>
//		method           <method>
//		host             <host>
//		header           <field> <value>
//		body             <text>
//		expect_status    <codes...>
//		expect_body      <regexp>
//		follow_redirects
//		scheme           http|https
//		tls off|{
//			off
//			server_name <name>
//			insecure_skip_verify
//			ca <file>
//			client_certificate <cert> <key>
//		}
//		# and the options of every check:
//		interval      <duration>
//		timeout       <duration>
//		passes        <n>
//		fails         <n>
//		down_interval <duration>
//		edge_interval <duration>
//		jitter        <ratio>
//		initial       up|down
//		port          <n>
//	}
func (c *HTTP) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	caddyfileutil.Head(d, &c.URI)
	valid := func() error { check := *c; setDefault(&check.URI, "/"); return check.parse() }
	if err := valid(); err != nil {
		return d.WrapErr(err)
	}
	header := make(map[string]string)
	opts := c.Options()
	opts["uri"] = func(d *caddyfile.Dispenser) error {
		if c.URI != "" {
			return d.Err("uri is given twice; write it once, behind `health http` or in the block")
		}
		return caddyfileutil.Valid(caddyfileutil.String(&c.URI), valid)(d)
	}
	opts["method"] = caddyfileutil.Valid(caddyfileutil.String(&c.Method), valid)
	opts["host"] = caddyfileutil.Valid(caddyfileutil.String(&c.Host), valid)
	opts[caddyfileutil.Repeat("header")] = caddyfileutil.Valid(caddyfileutil.ReplacedPair(header), func() error { c.Header = header; return valid() })
	opts["body"] = caddyfileutil.Replaced(&c.Body)
	opts["expect_status"] = caddyfileutil.Valid(caddyfileutil.Strings(&c.ExpectStatus), valid)
	opts["expect_body"] = caddyfileutil.Valid(caddyfileutil.String(&c.ExpectBody), valid)
	opts["follow_redirects"] = caddyfileutil.Flag(&c.FollowRedirects)
	opts["scheme"] = caddyfileutil.Valid(schemes.Option(&c.Scheme), valid)
	opts["tls"] = caddyfileutil.Valid(TLSOption(&c.TLS), valid)
	return caddyfileutil.Block(d, opts.Hint(httpWords))
}

// parse validates the options.
func (c *HTTP) parse() (err error) {
	if c.uri, err = url.ParseRequestURI(c.URI); err != nil || c.uri.Host != "" || !strings.HasPrefix(c.URI, "/") {
		return fmt.Errorf("uri must be a path such as /health, got %q", c.URI)
	}
	if c.status, err = httpx.ParseStatusCodes("expect_status", c.ExpectStatus); err != nil {
		return err
	}
	if c.ExpectBody != "" {
		if c.body, err = regexp.Compile(c.ExpectBody); err != nil {
			return fmt.Errorf("expect_body must be a regular expression: %w", err)
		}
	}
	if _, err := http.NewRequest(c.Method, "http://localhost/", nil); err != nil {
		return fmt.Errorf("method must be a word such as HEAD, got %q", c.Method)
	}
	if c.own, err = c.withScheme(); err != nil {
		return err
	}
	c.authority = c.Host
	names := make(map[string]bool)
	for field, value := range c.Header {
		if field == "" || strings.ContainsFunc(field, notInToken) {
			return fmt.Errorf("header must be a field such as X-Probe and a value, got the field %q", field)
		}
		name := textproto.CanonicalMIMEHeaderKey(field)
		if names[name] {
			return fmt.Errorf("header %s is given twice; field names are case-insensitive", name)
		}
		names[name] = true
		switch name { // net/http ignores these
		case "Host":
			if c.Host != "" {
				return fmt.Errorf("the host is given twice, as host %s and header %s %s; write one", c.Host, field, value)
			}
			c.authority = value
		case "Content-Length", "Transfer-Encoding", "Trailer":
			return fmt.Errorf("header %s is set from the body; remove it", name)
		}
		if strings.ContainsFunc(value, notInValue) {
			return fmt.Errorf("header %s must have a value of one line, got %q", field, value)
		}
	}
	// Otherwise every probe would fail.
	if u, err := url.Parse("http://" + c.authority); err != nil || u.Host != c.authority {
		return fmt.Errorf("host must be a name such as app.example.com or app.example.com:8080, got %q", c.authority)
	}
	return nil
}

// replace replaces placeholders in the header and the body.
func (c *HTTP) replace() (err error) {
	c.header = make(http.Header)
	for field, text := range c.Header {
		value, err := caddyfileutil.Global("header "+field, text)
		if err != nil {
			return err
		}
		if strings.ContainsFunc(value, notInValue) {
			return fmt.Errorf("header %s must have a value of one line; %s has several", field, text)
		}
		c.header.Set(field, value)
	}
	c.content, err = caddyfileutil.Global("body", c.Body)
	return err
}

// schemes are the words of scheme.
var schemes = caddyfileutil.Words{"http", "https"}

// withScheme returns the TLS options, with the scheme applied.
func (c *HTTP) withScheme() (*TLS, error) {
	if err := cmp.Or(c.TLS.check(), schemes.Check("scheme", c.Scheme)); err != nil {
		return nil, err
	}
	off := c.TLS != nil && c.TLS.Off
	switch {
	case c.Scheme == "":
	case c.Scheme == "https" && off:
		return nil, errors.New("scheme https needs TLS, but tls is off; remove one of them")
	case c.Scheme == "http" && c.TLS != nil && !off:
		return nil, errors.New("scheme http has no TLS; remove tls, or write scheme https")
	case c.TLS == nil:
		return &TLS{Off: c.Scheme == "http"}, nil
	}
	return c.TLS, nil
}

// notInToken reports whether a header field name cannot contain r (RFC 9110, 5.6.2).
func notInToken(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune("\"(),/:;<=>?@[\\]{}", r)
}

// notInValue reports whether a header field value cannot contain r (RFC 9110, 5.5).
func notInValue(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
