// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"errors"
	"net/http"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

func explain(_ *backend.Pool, w http.ResponseWriter, _ *http.Request) {
	fail(w, http.StatusNotFound, errors.New("not yet"))
}
