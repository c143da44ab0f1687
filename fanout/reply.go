// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout

import "net/http"

// reply is where a try writes the answer of its backend: to the client if it was
// picked for that, else nowhere. It belongs to the try's goroutine.
type reply struct {
	client  http.ResponseWriter // nil until it is picked
	scratch http.Header
	status  int  // of the backend's answer, whoever gets it
	wrote   bool // something has gone to the client
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

// FlushError is what [http.ResponseController] looks for.
func (w *reply) FlushError() error {
	if w.client == nil {
		return nil
	}
	return http.NewResponseController(w.client).Flush()
}
