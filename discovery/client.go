// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/clip"
)

const (
	// connectTimeout bounds a dial, and a TLS handshake.
	connectTimeout = 5 * time.Second
	// answerTimeout bounds the wait for a response, in addition to the time for which the request lets the
	// server wait.
	answerTimeout = 10 * time.Second
	// bodyTimeout bounds the time in which a response is read.
	bodyTimeout = time.Minute
	// maxAnswer bounds a response, an object of a stream, and a file.
	maxAnswer = 32 << 20
)

// client is a client of the API of a registry. It keeps one idle connection. Safe for concurrent use.
type client struct {
	base  *url.URL
	http  http.Client
	field func() (name, value string, err error) // an authorization; nil for none
}

// newClient returns a client of an API, whose address is an http or https URL, tcp://host:port, or unix:///path.
// roots verify certificates; nil for the roots of the system.
func newClient(address string, roots *x509.CertPool) (*client, error) {
	u, err := parseAPI(address)
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: connectTimeout}
	transport := &http.Transport{
		DialContext: dialer.DialContext, TLSHandshakeTimeout: connectTimeout,
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		MaxIdleConns:    2, IdleConnTimeout: 90 * time.Second, ForceAttemptHTTP2: true,
	}
	if u.Scheme == "unix" {
		path := u.Path
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", path)
		}
		u = &url.URL{Scheme: "http", Host: "localhost"}
	}
	return &client{base: u, http: http.Client{Transport: transport}}, nil
}

// checkAPI returns an error that names the option if the address of an API is invalid.
func checkAPI(option, address string) error {
	if _, err := parseAPI(address); err != nil {
		return fmt.Errorf("%s %w", option, err)
	}
	return nil
}

// api returns the option of the address of an API.
func api(option string, address *string) caddyfileutil.Option {
	return caddyfileutil.Valid(caddyfileutil.String(address), func() error { return checkAPI(option, *address) })
}

// parseAPI parses the address of an API.
func parseAPI(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil:
	case u.Scheme == "unix" && u.Host == "" && strings.HasPrefix(u.Path, "/"):
		return u, nil
	case u.Scheme == "tcp" && u.Host != "" && u.Path == "":
		return &url.URL{Scheme: "http", Host: u.Host}, nil
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.RawQuery == "" && u.Fragment == "":
		u.Path = strings.TrimSuffix(u.Path, "/")
		return u, nil
	}
	return nil, fmt.Errorf("must be an address such as http://10.0.0.1:8080 or unix:///run/api.sock, got %q", clip.Text(address))
}

// readRoots reads the certificates of a PEM file.
func readRoots(path string) (*x509.CertPool, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s has no certificates in PEM", path)
	}
	return roots, nil
}

// close closes the idle connections.
func (c *client) close() { c.http.CloseIdleConnections() }

// statusError is the error of a response with an unexpected status.
type statusError struct {
	code int
	text string
}

func (e *statusError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("the API answered %d %s: %s", e.code, http.StatusText(e.code), e.text))
}

// get sends a GET and returns the response if its status is 200, or 304 if header asks for that.
// The response must come within wait and a few seconds; its body has no limit of time.
func (c *client) get(ctx context.Context, path string, query url.Values, header http.Header, wait time.Duration) (*http.Response, error) {
	to := *c.base
	if path != "" {
		to.Path += path
	}
	to.RawQuery = query.Encode()
	ctx, cancel := context.WithCancel(ctx)
	timer := time.AfterFunc(wait+answerTimeout, cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, to.String(), nil)
	if err != nil {
		cancel()
		return nil, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	if c.field != nil {
		name, value, err := c.field()
		if err != nil {
			cancel()
			return nil, err
		}
		req.Header.Set(name, value)
	}
	res, err := c.http.Do(req)
	if !timer.Stop() && err == nil {
		_ = res.Body.Close()
		err = context.DeadlineExceeded
	}
	if err != nil {
		cancel()
		return nil, clip.Error(withoutURL(err))
	}
	res.Body = &cancelBody{res.Body, cancel}
	if res.StatusCode == http.StatusOK || res.StatusCode == http.StatusNotModified && header.Get("If-None-Match") != "" {
		return res, nil
	}
	text, _ := io.ReadAll(io.LimitReader(res.Body, clip.MaxBytes))
	_ = res.Body.Close()
	return nil, &statusError{res.StatusCode, clip.Text(strings.TrimSpace(string(text)))}
}

// withoutURL returns the cause of an error of net/http, without the URL, which may have secrets.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// cancelBody ends the context of the request with the body.
type cancelBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

// Close closes the body.
func (b *cancelBody) Close() error {
	b.cancel()
	return b.ReadCloser.Close()
}

// getJSON gets a JSON value of at most maxAnswer bytes, all of which must come within wait and
// bodyTimeout, and returns the header of the response.
func (c *client) getJSON(ctx context.Context, path string, query url.Values, wait time.Duration, to any) (http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+bodyTimeout)
	defer cancel()
	res, err := c.get(ctx, path, query, nil, wait)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	return res.Header, decodeAll(res.Body, to)
}

// readAll reads an answer, or a file, of at most maxAnswer bytes.
func readAll(from io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(from, maxAnswer+1))
	if err == nil && len(data) > maxAnswer {
		err = fmt.Errorf("there are more than %d bytes", maxAnswer)
	}
	return data, err
}

// decodeAll decodes a JSON value that is all of a body.
func decodeAll(body io.Reader, to any) error {
	data, err := readAll(body)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, to); err != nil {
		return fmt.Errorf("the answer is not the JSON that was expected: %w", err)
	}
	return nil
}

// stream decodes the JSON values of a body, one after the other.
type stream struct {
	body    io.ReadCloser
	limit   io.LimitedReader
	decoder *json.Decoder
}

func newStream(body io.ReadCloser) *stream {
	s := &stream{body: body}
	s.limit.R = body
	s.decoder = json.NewDecoder(&s.limit)
	return s
}

// next decodes the next value. A stream that ends within a value is an [io.ErrUnexpectedEOF].
func (s *stream) next(to any) error {
	s.limit.N = maxAnswer
	err := s.decoder.Decode(to)
	if s.limit.N <= 0 {
		err = fmt.Errorf("a value of the stream has more than %d bytes", maxAnswer)
	}
	return err
}

func (s *stream) close() { _ = s.body.Close() }
