// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/httpx"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/report"
)

func init() { caddy.RegisterModule(new(API)) }

// API serves the routes of Caddy's admin endpoint that show and change pools:
//
//	GET    /ballast/pools
//	GET    /ballast/pools/<pool>
//	POST   /ballast/pools/<pool>/backends
//	GET    /ballast/pools/<pool>/backends/<id>
//	PATCH  /ballast/pools/<pool>/backends/<id>
//	DELETE /ballast/pools/<pool>/backends/<id>[?drain=<duration>]
//	GET    /ballast/pools/<pool>/explain
//	GET    /ballast/pools/<pool>/rollouts
//	GET    /ballast/pools/<pool>/rollouts/<group>
//	POST   /ballast/pools/<pool>/rollouts/<group>
//	GET    /ballast/fleet
//	GET    /ballast/metrics
//	GET    /ballast/history
//	GET    /ballast/events[?last=<n>]
//
// API is available without configuration, to every client that may use the admin endpoint.
type API struct {
	// Set by Provision, then read-only.
	ctx context.Context

	once sync.Once
	quit chan struct{} // closed when the server shuts down
}

// CaddyModule returns the Caddy module information.
func (*API) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.ballast", New: func() caddy.Module { return new(API) }}
}

// Provision sets up the routes.
func (a *API) Provision(ctx caddy.Context) error {
	a.ctx, a.quit = ctx, make(chan struct{})
	return nil
}

// Routes implements [caddy.AdminRouter]. Another module serves the page at /ballast/: its
// pattern, which ends in {$}, takes precedence.
func (a *API) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: root, Handler: caddy.AdminHandlerFunc(a.serve)}}
}

// serve answers every request itself, including errors, which Caddy would log and reduce to a
// status.
func (a *API) serve(w http.ResponseWriter, r *http.Request) error {
	segments, ok := split(r.URL.EscapedPath())
	methods := a.route(segments)
	switch {
	case !ok || methods == nil:
		hint := ""
		if len(segments) > 4 || !ok {
			hint = "; slashes in an id must be escaped, as in unix%2F%2Frun%2Fx.sock"
		}
		fail(w, http.StatusNotFound, fmt.Errorf("there is no route %s%s", r.URL.EscapedPath(), hint))
		return nil
	case r.Method == http.MethodOptions: // Caddy has set the CORS header fields
		w.Header().Set("Allow", allowed(methods))
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	h := methods[method]
	if h == nil {
		w.Header().Set("Allow", allowed(methods))
		fail(w, http.StatusMethodNotAllowed, fmt.Errorf("method %s is not allowed for %s; use %s", r.Method, r.URL.EscapedPath(), allowed(methods)))
		return nil
	}
	w.Header().Set("Cache-Control", "no-store")
	h(w, r)
	return nil
}

func allowed(methods map[string]http.HandlerFunc) string {
	var names []string
	for m := range methods {
		names = append(names, m)
		if m == http.MethodGet {
			names = append(names, http.MethodHead)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// route returns the handlers of a path, by method; nil if there are none.
func (a *API) route(path []string) map[string]http.HandlerFunc {
	get := func(h http.HandlerFunc) map[string]http.HandlerFunc {
		return map[string]http.HandlerFunc{http.MethodGet: h}
	}
	plain := func(h http.HandlerFunc) http.HandlerFunc { // without parameters
		return func(w http.ResponseWriter, r *http.Request) {
			if err := httpx.CheckQuery(r.URL.Query()); err != nil {
				refuse(w, err)
				return
			}
			h(w, r)
		}
	}
	forPool := func(h func(*pool.Pool, http.ResponseWriter, *http.Request)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if p := pool.Current(path[1]); p != nil {
				h(p, w, r)
				return
			}
			var names []string
			for _, p := range pool.Pools() {
				names = append(names, p.Name)
			}
			fail(w, http.StatusNotFound, unknownPool(path[1], names))
		}
	}
	switch {
	case len(path) == 1 && path[0] == "metrics":
		return get(plain(func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, report.Numbers()) }))
	case len(path) == 1 && path[0] == "fleet":
		return get(plain(showFleet))
	case len(path) == 1 && path[0] == "history":
		return get(showHistory)
	case len(path) == 1 && path[0] == "events":
		return get(a.events)
	case len(path) == 1 && path[0] == "pools":
		return get(plain(showPools))
	case len(path) == 2 && path[0] == "pools":
		return get(plain(forPool(showPool)))
	case len(path) == 3 && path[0] == "pools" && path[2] == "explain":
		return get(forPool(explain))
	case len(path) == 3 && path[0] == "pools" && path[2] == "backends":
		return map[string]http.HandlerFunc{http.MethodGet: plain(forPool(showPool)), http.MethodPost: plain(forPool(addBackend))}
	case len(path) == 3 && path[0] == "pools" && path[2] == "rollouts":
		return get(plain(forPool(showRollouts)))
	case len(path) == 4 && path[0] == "pools" && path[2] == "rollouts":
		one := rolloutOf(path[3])
		return map[string]http.HandlerFunc{http.MethodGet: plain(forPool(one.show)), http.MethodPost: plain(forPool(one.act))}
	case len(path) == 4 && path[0] == "pools" && path[2] == "backends":
		one := target{id: path[3], api: a}
		return map[string]http.HandlerFunc{
			http.MethodGet: plain(forPool(one.show)), http.MethodPatch: plain(forPool(one.change)), http.MethodDelete: forPool(one.remove),
		}
	}
	return nil
}

func showPools(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, report.All())
}

func showPool(p *pool.Pool, w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, report.OfPool(p))
}

func showHistory(w http.ResponseWriter, r *http.Request) {
	out, err := report.OfHistory(r.URL.Query())
	if err != nil {
		refuse(w, err)
		return
	}
	answer(w, http.StatusOK, out)
}

func showFleet(w http.ResponseWriter, _ *http.Request) {
	out, ok := report.OfFleet()
	if !ok {
		fail(w, http.StatusNotFound, errors.New("this instance is in no fleet; write `fleet { store redis <address> }`, or another store, in the ballast global option"))
		return
	}
	answer(w, http.StatusOK, out)
}

// answer writes a value as JSON.
func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client may have left
}

// fail writes an error.
func fail(w http.ResponseWriter, status int, err error) { answer(w, status, Failure{err.Error()}) }

// refuse writes an error of a request, with the status for it.
func refuse(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, membership.ErrExists):
		fail(w, http.StatusConflict, err)
	case errors.Is(err, membership.ErrUnknown):
		fail(w, http.StatusNotFound, err)
	case errors.Is(err, membership.ErrNotAlive) && outlier.FailureOf(err) == outlier.Local:
		fail(w, http.StatusServiceUnavailable, err)
	case errors.Is(err, membership.ErrNotKept):
		fail(w, http.StatusInsufficientStorage, err)
	default:
		fail(w, httpx.DecodeStatus(err), err)
	}
}

// Interface guards
var (
	_ caddy.Provisioner = (*API)(nil)
	_ caddy.AdminRouter = (*API)(nil)
)
