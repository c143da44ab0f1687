// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"slices"
	"strings"
)

// Identity returns what tells the upstreams of the proxy from another's, in
// whatever order they are written: those of a fixed list, or their source.
func (p *Proxy) Identity() string {
	var addresses []string
	for _, u := range p.handler.Upstreams {
		addresses = append(addresses, u.Dial)
	}
	slices.Sort(addresses)
	return strings.Join(addresses, " ") + "\n" + string(p.handler.DynamicUpstreamsRaw)
}
