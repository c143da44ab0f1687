// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// Namespace is the namespace of modules that implement [Source], and InlineKey the JSON key with the name of the
// module.
const (
	Namespace = "ballast.discovery"
	InlineKey = "source"
)

// Source is a guest module that discovers the backends of a pool and pushes their changes. It must implement
// caddyfile.Unmarshaler to be used in a Caddyfile.
type Source interface {
	// Watch calls update with all endpoints, first as soon as it knows them and then after each
	// change, until ctx ends or it fails. The pool then calls it again, after a backoff of 1s
	// to 30s, and keeps the endpoints of the latest update meanwhile: so a source must not call
	// update with nothing because it does not know. update may be called as often as there are
	// changes, on one goroutine at a time; it does not block, and keeps the slice.
	//
	// Pools with the same source share one call, which outlives the configuration: Watch must not
	// use its context or its logger.
	Watch(ctx context.Context, update func(Update)) error
}

// Update is the list of backends that a source pushes.
type Update struct {
	// Endpoints are the backends.
	Endpoints []Endpoint
	// Ignored are entries that were found and are not backends, by name, with the reason, such as a container
	// without a port. The pool logs each once.
	Ignored map[string]string
}

// Endpoint is a backend.
type Endpoint struct {
	// Address is a dial address, such as 10.0.0.1:8080 or [2001:db8::1]:8080.
	Address string
	// Draining reports that the backend is about to end: it gets only the requests of its sessions.
	Draining bool
	// Settings are the options of the backend. Without an id it has the address as its id. Instance
	// is best set, to the id of the container or the uid of the pod. The pool sets MaxRequests.
	backend.Settings
}

// Settings are the options of a backend that an [Endpoint] may set.
type Settings = backend.Settings

// maxEndpoints bounds the endpoints of a source.
const maxEndpoints = 50_000

var errTooMany = fmt.Errorf("there are more than %d backends", maxEndpoints)

// Prepare checks and sorts the endpoints of an update, and removes duplicates: of one address the
// endpoint that is not draining counts, else the first. An endpoint without an id, or whose id another
// one has, gets its address as id; of two with the same id, one that is not draining keeps it. Invalid
// endpoints become ignored.
func (u *Update) Prepare() error {
	if len(u.Endpoints) > maxEndpoints {
		return errTooMany
	}
	slices.SortStableFunc(u.Endpoints, func(a, b Endpoint) int {
		if c := strings.Compare(a.Address, b.Address); c != 0 || a.Draining == b.Draining {
			return c
		}
		if a.Draining {
			return 1
		}
		return -1
	})
	u.Ignored = maps.Clone(u.Ignored)
	kept := make([]Endpoint, 0, len(u.Endpoints))
	for _, e := range u.Endpoints {
		if n := len(kept); n > 0 && kept[n-1].Address == e.Address {
			continue
		}
		if err := e.check(); err != nil {
			u.ignore(e.Address, err)
			continue
		}
		kept = append(kept, e)
	}
	u.Endpoints = kept
	ids := make(map[string]bool, len(kept))
	for _, draining := range []bool{false, true} {
		for i := range kept {
			e := &kept[i]
			if e.Draining != draining {
				continue
			}
			if e.ID == "" || ids[e.ID] {
				e.ID = e.Address
			}
			ids[e.ID] = true
		}
	}
	return nil
}

func (u *Update) ignore(name string, err error) {
	if u.Ignored == nil {
		u.Ignored = make(map[string]string)
	}
	u.Ignored[name] = err.Error()
}

// check returns an error if the endpoint is not a valid backend.
func (e *Endpoint) check() error {
	if e.Address == "" {
		return errors.New("the address is missing")
	}
	return errors.Join(e.Settings.Check(), e.CheckSize())
}
