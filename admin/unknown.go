// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// maxListed is the most names that an error lists.
const maxListed = 10

// unknownPool returns the error for a pool that does not exist. names are the names of the existing pools.
func unknownPool(name string, names []string) error {
	if len(names) == 0 {
		return fmt.Errorf("there is no pool %q; no pool is configured", name)
	}
	return fmt.Errorf("there is no pool %q; the pools are %s", name, listed(names))
}

// refuse writes an error about one backend of p. If the backend does not exist, it lists the
// ids of existing ones.
func (t target) refuse(p *pool.Pool, w http.ResponseWriter, err error) {
	if !errors.Is(err, membership.ErrUnknown) {
		refuse(w, err)
		return
	}
	var ids []string
	for _, b := range current(p).View().Members.All {
		ids = append(ids, b.ID)
	}
	known := "the pool is empty"
	if len(ids) > 0 {
		known = "its backends are " + listed(ids)
	}
	refuse(w, fmt.Errorf("%w: %q; %s", membership.ErrUnknown, t.id, known))
}

// listed joins the first names, and adds the number of the others.
func listed(names []string) string {
	if len(names) <= maxListed {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s, and %d more", strings.Join(names[:maxListed], ", "), len(names)-maxListed)
}
