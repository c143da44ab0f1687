// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/event"
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
	"github.com/ballast-lb/caddy-ballast/internal/report"
)

const (
	// maxListeners is the maximum number of concurrent event streams.
	maxListeners = 100
	// writeTimeout is the time limit of a write to a stream, and keepAlive the interval of
	// writes without events.
	writeTimeout = 10 * time.Second
	keepAlive    = 15 * time.Second
)

// endOf prepares a long request, and returns a channel that is closed when its server shuts
// down. A reload replaces the admin endpoint, and the old server waits for its requests, so
// they must end then. The context of the configuration is not enough: it also ends with a
// configuration that is rejected, while the endpoint stays.
func (a *API) endOf(w http.ResponseWriter, r *http.Request) <-chan struct{} {
	// Otherwise the server's read timeout would cancel the request.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	if server, ok := r.Context().Value(http.ServerContextKey).(*http.Server); ok {
		a.once.Do(func() { server.RegisterOnShutdown(func() { close(a.quit) }) })
	}
	return a.quit
}

// events answers with the kept events, if their number is given. Else it streams events until the
// client leaves or is too slow, or the server shuts down.
func (a *API) events(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if query.Has("last") {
		out, err := report.OfEvents(query)
		if err != nil {
			refuse(w, err)
			return
		}
		answer(w, http.StatusOK, out)
		return
	}
	if err := httpx.CheckQuery(query, "pool"); err != nil {
		if errors.Is(err, httpx.ErrUnknownField) {
			err = fmt.Errorf("%w and, with last, after and backend", err)
		}
		refuse(w, err)
		return
	}
	if now, _ := event.Subscriptions(); now >= maxListeners {
		fail(w, http.StatusServiceUnavailable, fmt.Errorf("%d event streams are open, which is the limit", now))
		return
	}
	end := a.endOf(w, r)
	// endOf does not notify a request that arrived during the shutdown; for it, use the
	// context.
	var over <-chan struct{}
	if a.ctx.Err() == nil {
		over = a.ctx.Done()
	}
	listener := event.Subscribe()
	defer listener.Close()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	s := stream{w, http.NewResponseController(w)}
	if r.Method == http.MethodHead || s.write([]byte(": events from now on\n\n")) != nil {
		return
	}
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for {
		var err error
		select {
		case e, ok := <-listener.Events:
			switch {
			case !ok:
				_ = s.send("too_slow", Failure{"the client reads events too slowly and has missed some; connect again"})
				return
			case query.Get("pool") == "" || query.Get("pool") == e.Data["pool"]:
				err = s.send(e.Name, report.OfEvent(e))
			}
		case <-tick.C:
			err = s.write([]byte(":\n\n"))
		case <-end:
			return
		case <-over:
			return
		case <-r.Context().Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// stream writes server-sent events.
type stream struct {
	w          http.ResponseWriter
	controller *http.ResponseController
}

func (s *stream) send(name string, data any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "event: %s\ndata: %s\n\n", name, text)
	return s.write(b.Bytes())
}

// write writes data, and fails if the client does not read it in time.
func (s *stream) write(data []byte) error {
	if err := s.controller.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := s.w.Write(data); err != nil {
		return err
	}
	return s.controller.Flush()
}
