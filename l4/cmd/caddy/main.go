// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Command caddy is Caddy with its standard modules, Ballast, caddy-l4, and the handler balance.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/mholt/caddy-l4"

	_ "github.com/ballast-lb/caddy-ballast"
	_ "github.com/ballast-lb/caddy-ballast/l4"
)

func main() { caddycmd.Main() }
