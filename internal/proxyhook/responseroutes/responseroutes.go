// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package responseroutes finds the responses that Caddy passes to routes which do not read them.
package responseroutes

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/ballast-lb/caddy-ballast/internal/replay"
)

// maxDrainTime is how long an unwanted body is read after its header has come.
const maxDrainTime = 100 * time.Millisecond

// Routes are the handle_response routes of a proxy, which forward_auth uses, too. Only
// copy_response can read the response's body there. Caddy closes the body when the routes have
// ended, which may take another request through this or another proxy. Read-only.
type Routes []route

type route struct {
	*caddyhttp.ResponseHandler
	unread bool // its routes do not read the body
}

// Of reads the configuration of a proxy whose routes are not provisioned yet.
func Of(h *reverseproxy.Handler) (all Routes) {
	for i := range h.HandleResponse {
		by := route{ResponseHandler: &h.HandleResponse[i]}
		// Search the JSON, so that unknown modules are covered, too. Named routes (invoke) are
		// defined elsewhere.
		routes, err := json.Marshal(by.Routes)
		by.unread = err == nil && !bytes.Contains(routes, []byte(`"copy_response"`)) && !bytes.Contains(routes, []byte(`"invoke"`))
		all = append(all, by)
	}
	return all
}

// Unread reports whether Caddy will pass a response to routes that do not read its body.
func (all Routes) Unread(res *http.Response) bool {
	for _, by := range all {
		if by.Match == nil || by.Match.Match(res.StatusCode, res.Header) {
			// A handler with a status code only changes that of the response.
			return by.unread && by.StatusCode == "" && res.StatusCode != http.StatusSwitchingProtocols
		}
	}
	return false
}

// Discard ends a response whose body is not read. That frees the slot of the backend, which a
// request made by the routes may need.
func Discard(res *http.Response) {
	replay.Discard(res, maxDrainTime)
	_ = res.Body.Close()
	res.Body = http.NoBody
}
