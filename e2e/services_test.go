// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"golang.org/x/net/websocket"
)

// services are backends in the test's own process, which can therefore follow
// what happens on their side.
type services struct {
	step chan struct{} // each lets /events send one event
	came chan struct{} // /hang or /drain was entered
	gone chan struct{} // its client went away
}

// newServices returns the services and the addresses of two servers of them,
// which speak HTTP/1.1 and h2c.
func newServices(t testing.TB) (*services, []string) {
	s := &services{step: make(chan struct{}), came: make(chan struct{}, 10), gone: make(chan struct{}, 10)}
	mux := http.NewServeMux()
	mux.HandleFunc("/proto", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) })
	mux.HandleFunc("/echo", echo)
	mux.HandleFunc("/events", s.events)
	mux.HandleFunc("/trailers", trailers)
	mux.HandleFunc("/hang", s.hang)
	mux.HandleFunc("/drain", s.drain)
	mux.Handle("/websocket", websocket.Server{Handler: func(ws *websocket.Conn) {
		io.Copy(ws, ws)
		s.gone <- struct{}{}
	}})
	var all []string
	for range 2 {
		server := httptest.NewUnstartedServer(mux)
		server.Config.Protocols = new(http.Protocols)
		server.Config.Protocols.SetHTTP1(true)
		server.Config.Protocols.SetUnencryptedHTTP2(true)
		server.Start()
		t.Cleanup(server.Close)
		all = append(all, server.Listener.Addr().String())
	}
	return s, all
}

// echo sends the body back once it has all of it.
func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Write(body)
}

// events sends server-sent events, each when the test says so.
func (s *services) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	for {
		http.NewResponseController(w).Flush()
		select {
		case <-s.step:
			io.WriteString(w, "data: event\n\n")
		case <-r.Context().Done():
			s.gone <- struct{}{}
			return
		}
	}
}

// trailers sends a trailer that is announced and one that is not.
func trailers(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Trailer", "X-Announced")
	io.WriteString(w, strings.Repeat("body ", 1000))
	http.NewResponseController(w).Flush()
	w.Header().Set("X-Announced", "one")
	w.Header().Set(http.TrailerPrefix+"X-Late", "two")
}

// hang answers nothing, or ?part of the body, until the client goes away.
func (s *services) hang(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Has("part") {
		io.WriteString(w, "part")
		http.NewResponseController(w).Flush()
	}
	s.came <- struct{}{}
	<-r.Context().Done()
	s.gone <- struct{}{}
}

// drain reads a body that never ends.
func (s *services) drain(_ http.ResponseWriter, r *http.Request) {
	s.came <- struct{}{}
	io.Copy(io.Discard, r.Body)
	s.gone <- struct{}{}
}

// wait waits for something that is said on a channel.
func wait(t testing.TB, what string, c <-chan struct{}) {
	t.Helper()
	eventually(t, what, func() bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	})
}
