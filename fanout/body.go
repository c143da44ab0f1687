// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"time"
)

// read returns the body of a request or, if that fails, the status and the reason of the
// refusal.
func (h *Handler) read(w http.ResponseWriter, r *http.Request) (body []byte, status int, reason string) {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil, 0, ""
	}
	// This overrides the server's own read deadline only if that is later or unset.
	slow := time.AfterFunc(time.Duration(h.Timeout), func() {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now())
	})
	var buf bytes.Buffer
	if r.ContentLength > 0 {
		buf.Grow(int(r.ContentLength) + bytes.MinRead)
	}
	_, err := buf.ReadFrom(io.LimitReader(r.Body, int64(h.MaxBody)+1))
	var tooLarge *http.MaxBytesError
	switch intime := slow.Stop(); {
	case errors.As(err, &tooLarge), int64(buf.Len()) > int64(h.MaxBody):
		return nil, http.StatusRequestEntityTooLarge, reasonBody
	case !intime:
		return nil, http.StatusRequestTimeout, reasonSlow
	case err != nil:
		return nil, http.StatusBadRequest, reasonBroken
	}
	return buf.Bytes(), 0, ""
}
