// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout

import "net/http"

// reply is the ResponseWriter of a try. It writes to the client if the client gets the response of this backend,
// and else discards the response. Only the goroutine of the try may use it.
type reply struct {
	client  http.ResponseWriter // nil until the client gets this response
	scratch http.Header
	status  int  // of the backend's response, also if it is discarded
	wrote   bool // something was written to the client
}

// Header implements [http.ResponseWriter].
func (w *reply) Header() http.Header {
	if w.client != nil {
		return w.client.Header()
	}
	if w.scratch == nil {
		w.scratch = make(http.Header)
	}
	return w.scratch
}

// WriteHeader implements [http.ResponseWriter].
func (w *reply) WriteHeader(status int) {
	if w.client != nil {
		w.wrote = true
		w.client.WriteHeader(status)
	}
}

// Write implements [http.ResponseWriter].
func (w *reply) Write(p []byte) (int, error) {
	if w.client == nil {
		return len(p), nil
	}
	w.wrote = true
	return w.client.Write(p)
}

// FlushError implements the interface that [http.ResponseController] looks for.
func (w *reply) FlushError() error {
	if w.client == nil {
		return nil
	}
	return http.NewResponseController(w.client).Flush()
}
