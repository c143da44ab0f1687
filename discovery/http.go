// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
)

func init() { caddy.RegisterModule(new(HTTP)) }

// HTTP discovers the backends that an HTTP server lists, in the JSON of Prometheus' HTTP service discovery (http_sd) or
// another format of [ParseList]. It requests the list at an interval, with If-None-Match.
type HTTP struct {
	// URL is the http or https URL of the list. Required.
	URL string `json:"url,omitempty"`
	// Every is the interval of requests, from 100ms to 1h. Default: 10s.
	Every caddy.Duration `json:"every,omitempty"`
}

const defaultEvery = 10 * time.Second

var intervals = caddyfileutil.Durations{Min: 100 * time.Millisecond, Max: time.Hour}

// CaddyModule returns the Caddy module information.
func (*HTTP) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".http", New: func() caddy.Module { return new(HTTP) }}
}

// Provision sets the defaults.
func (h *HTTP) Provision(caddy.Context) error {
	h.Every = cmp.Or(h.Every, caddy.Duration(defaultEvery))
	return cmp.Or(intervals.Check("every", h.Every), h.checkURL())
}

func (h *HTTP) checkURL() error {
	if h.URL == "" {
		return errors.New("the URL is missing; write from http <url>")
	}
	if req, err := http.NewRequest(http.MethodGet, h.URL, nil); err != nil || req.URL.Host == "" ||
		req.URL.Scheme != "http" && req.URL.Scheme != "https" {
		return fmt.Errorf("from http must have a URL such as https://registry.example/web.json, got %q", h.URL)
	}
	return nil
}

// Watch implements [Source].
func (h *HTTP) Watch(ctx context.Context, update func(Update)) error {
	req, err := http.NewRequest(http.MethodGet, h.URL, nil)
	if err != nil {
		return err
	}
	query := req.URL.Query()
	req.URL.RawQuery = ""
	api, err := newClient(req.URL.String(), nil)
	if err != nil {
		return err
	}
	api.base.Path = req.URL.Path // a slash at the end counts
	defer api.close()
	header := http.Header{"Accept": {"application/json"}, "X-Prometheus-Refresh-Interval-Seconds": {
		fmt.Sprint(time.Duration(h.Every).Seconds())}}
	poll := time.NewTicker(time.Duration(h.Every))
	defer poll.Stop()
	for {
		all, changed, err := ask(ctx, api, query, header)
		if err != nil {
			return err
		}
		if changed {
			update(Update{Endpoints: all})
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-poll.C:
		}
	}
}

// ask gets the list, if it has changed, and notes its version in header.
func ask(ctx context.Context, api *client, query url.Values, header http.Header) (all []Endpoint, changed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, bodyTimeout)
	defer cancel()
	res, err := api.get(ctx, "", query, header, 0)
	if err != nil {
		return nil, false, err
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusNotModified {
		return nil, false, nil
	}
	data, err := readAll(res.Body)
	if err != nil {
		return nil, false, err
	}
	if all, err = ParseList(data); err != nil {
		return nil, false, err
	}
	header.Del("If-None-Match")
	if tag := res.Header.Get("Etag"); tag != "" {
		header.Set("If-None-Match", tag)
	}
	return all, true, nil
}

// UnmarshalCaddyfile sets up the source from Caddyfile tokens. Syntax:
//
//	from http <url> {
//		every <duration>
//	}
func (h *HTTP) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	caddyfileutil.Head(d, &h.URL)
	if err := h.checkURL(); err != nil {
		return d.WrapErr(err)
	}
	return caddyfileutil.Block(d, caddyfileutil.Options{"every": intervals.Option(&h.Every)})
}

// Interface guards
var (
	_ caddy.Provisioner     = (*HTTP)(nil)
	_ caddyfile.Unmarshaler = (*HTTP)(nil)
	_ Source                = (*HTTP)(nil)
)
