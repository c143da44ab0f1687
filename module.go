// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package ballast makes Caddy's reverse_proxy a load balancer. It adds modules to Caddy and
// replaces none: pools of backends with health checks and discovery ([pool], [healthcheck]),
// load-balancing policies ([selection]), sticky sessions ([sticky]), load shedding ([shedder]),
// fan-out of requests to all backends ([fanout]), fleets of instances that share what they know
// ([fleet]), and, to change pools at run time, an API
// ([admin]), a page ([dashboard]) and a handler for backends that register themselves ([register]).
// Importing this package registers all modules.
package ballast

import (
	_ "github.com/ballast-lb/caddy-ballast/admin"
	_ "github.com/ballast-lb/caddy-ballast/dashboard"
	_ "github.com/ballast-lb/caddy-ballast/discovery"
	_ "github.com/ballast-lb/caddy-ballast/fanout"
	_ "github.com/ballast-lb/caddy-ballast/fleet"
	_ "github.com/ballast-lb/caddy-ballast/healthcheck"
	_ "github.com/ballast-lb/caddy-ballast/pool"
	_ "github.com/ballast-lb/caddy-ballast/register"
	_ "github.com/ballast-lb/caddy-ballast/selection"
	_ "github.com/ballast-lb/caddy-ballast/shedder"
	_ "github.com/ballast-lb/caddy-ballast/sticky"
)
