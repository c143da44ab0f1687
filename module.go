// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package ballast makes Caddy's reverse_proxy a load balancer. It adds modules
// to Caddy and replaces none: pools of backends that are probed, discovered and
// shared ([pool]), policies that choose among them ([selection]), health checks
// ([healthcheck]), a policy that keeps sessions with their backends ([sticky]), a
// handler that sheds load ([shedder]) and one that sends a request to all backends
// ([fanout]), and, to change pools while Caddy runs, an API ([admin]), a page that
// shows them ([dashboard]) and a handler for backends that register themselves
// ([register]). Importing this package registers all of it.
package ballast

import (
	_ "github.com/ballast-lb/caddy-ballast/admin"
	_ "github.com/ballast-lb/caddy-ballast/dashboard"
	_ "github.com/ballast-lb/caddy-ballast/fanout"
	_ "github.com/ballast-lb/caddy-ballast/healthcheck"
	_ "github.com/ballast-lb/caddy-ballast/pool"
	_ "github.com/ballast-lb/caddy-ballast/register"
	_ "github.com/ballast-lb/caddy-ballast/selection"
	_ "github.com/ballast-lb/caddy-ballast/shedder"
	_ "github.com/ballast-lb/caddy-ballast/sticky"
)
