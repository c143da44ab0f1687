// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package shedder

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/ballast-lb/caddy-ballast/shedder/internal/admission"
)

// Priority assigns a level to requests.
type Priority struct {
	// Level is critical, high, normal, low or background. Lower levels are refused first.
	// Required.
	Level string `json:"level"`
	// MatcherSetsRaw select the requests. Default: all.
	MatcherSetsRaw caddyhttp.RawMatcherSets `json:"match,omitempty" caddy:"namespace=http.matchers"`

	level    admission.Level
	matchers caddyhttp.MatcherSets
}

// levels provisions the priorities and returns the levels in use.
func (h *Handler) levels(ctx caddy.Context) (all []admission.Level, err error) {
	for i, p := range h.Priorities {
		if p == nil {
			return nil, errors.New("a priority is null; write an object with its level")
		}
		if err := p.provision(ctx); err != nil {
			return nil, err
		}
		all = append(all, p.level)
		if len(p.matchers) == 0 {
			if i < len(h.Priorities)-1 {
				return nil, fmt.Errorf("priority %s matches all requests, so that later priorities match none; write it last", p.Level)
			}
			return all, nil
		}
	}
	return append(all, admission.Normal), nil
}

func (p *Priority) provision(ctx caddy.Context) (err error) {
	if p.level, err = parseLevel(p.Level); err != nil {
		return err
	}
	if len(p.MatcherSetsRaw) == 0 {
		return nil
	}
	matchers, err := ctx.LoadModule(p, "MatcherSetsRaw")
	if err != nil {
		return fmt.Errorf("loading matchers of priority %s: %w", p.Level, err)
	}
	return p.matchers.FromInterface(matchers)
}

func parseLevel(name string) (admission.Level, error) {
	l, ok := admission.LevelOf(name)
	if !ok {
		return l, fmt.Errorf("priority must be one of %s, got %q", strings.Join(admission.LevelNames(), ", "), name)
	}
	return l, nil
}

// level returns the level of a request.
func (h *Handler) level(r *http.Request) (admission.Level, error) {
	for _, p := range h.Priorities {
		if len(p.matchers) == 0 {
			return p.level, nil
		}
		if match, err := p.matchers.AnyMatchWithError(r); match || err != nil {
			return p.level, err
		}
	}
	return admission.Normal, nil
}
