// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"slices"
	"strings"
)

// Identity returns a text that identifies the upstreams of the proxy, independent of their order:
// the addresses of a fixed list, and the dynamic source.
func (p *Proxy) Identity() string {
	var addresses []string
	for _, u := range p.handler.Upstreams {
		addresses = append(addresses, u.Dial)
	}
	slices.Sort(addresses)
	return strings.Join(addresses, " ") + "\n" + string(p.handler.DynamicUpstreamsRaw)
}
