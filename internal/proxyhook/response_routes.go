// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// maxDrainTime is for how long a body is read that nobody will read, once its header
// has come.
const maxDrainTime = 100 * time.Millisecond

// responseRoutes are the routes that a proxy's responses may be given to (handle_response,
// of which forward_auth is made). Only copy_response can read the response's body
// there, and Caddy closes it when the routes have ended: which may be a request
// later, through this or another proxy. Read-only.
type responseRoutes []responseRoute

type responseRoute struct {
	*caddyhttp.ResponseHandler
	unread bool // no route of it reads the body
}

// responseRoutesOf reads the configuration of a proxy whose routes are not provisioned yet.
func responseRoutesOf(h *reverseproxy.Handler) (all responseRoutes) {
	for i := range h.HandleResponse {
		by := responseRoute{ResponseHandler: &h.HandleResponse[i]}
		// Wherever it stands, also in modules that nobody here knows. Named routes
		// are elsewhere.
		routes, err := json.Marshal(by.Routes)
		by.unread = err == nil && !bytes.Contains(routes, []byte(`"copy_response"`)) && !bytes.Contains(routes, []byte(`"invoke"`))
		all = append(all, by)
	}
	return all
}

// unread reports whether Caddy will give a response to routes that do not read its
// body.
func (all responseRoutes) unread(res *http.Response) bool {
	for _, by := range all {
		if by.Match == nil || by.Match.Match(res.StatusCode, res.Header) {
			// A handler with a status code only changes that of the response.
			return by.unread && by.StatusCode == "" && res.StatusCode != http.StatusSwitchingProtocols
		}
	}
	return false
}

// discardBody ends a response whose body nobody will read, so that its backend is rid of
// it: a request that is sent on by the routes may need the same slot.
func discardBody(res *http.Response) {
	Discard(res, maxDrainTime)
	_ = res.Body.Close()
	res.Body = http.NoBody
}
