// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"net/http"

	"github.com/ballast-lb/caddy-ballast/internal/mirror"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/dialinfo"
)

// copyOf returns the copy of a request, or nil if it is not mirrored. All attempts of a request have
// one copy.
func (p *Proxy) copyOf(req *http.Request, a *attempts) *mirror.Copy {
	if a.copied {
		return a.copy
	}
	a.copied = true
	if a.copy = p.copies.Begin(req, a.original.header); a.copy != nil {
		info := p.copies.Next()
		_, repl := replacerFor(req, a, dialinfo.Placeholders(info))
		p.copies.Send(a.copy, p.addressed(req, a.original, info, repl), info, repl)
	}
	return a.copy
}
