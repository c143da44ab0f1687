// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/names"
)

// Bounds of [Settings].
var (
	Weights = caddyfileutil.Ints{Max: 65535}         // as in a DNS SRV record
	Tiers   = caddyfileutil.Ints{Max: 65535}         // as the priority in a DNS SRV record
	Limits  = caddyfileutil.Ints{Max: math.MaxInt32} // of max_requests
)

const (
	maxText = 512 // bytes of an id, a key or a value that is given at run time
	maxMeta = 100 // entries that are given at run time
)

// Settings are the options of a backend. The configuration, the admin API, registrations, discovery and stored records
// all embed them, so a new option is a new field here. The tag usage is the description of the flag of
// `caddy ballast add`.
type Settings struct {
	// ID is the backend's name in cookies, metrics and the admin API, unique in the pool. It is
	// readable text that can be a segment of a URL path: a/b is valid; "..", a//b and a/../b
	// are not. Default: the address.
	ID string `json:"id,omitempty" usage:"id of the backend (default the address)"`
	// Weight is the share of requests relative to the others in the tier, at most 65535. With 0
	// the backend gets no new requests. Default: 1.
	Weight *int `json:"weight,omitempty" usage:"weight, relative to the other backends (default 1)"`
	// MaxRequests is the most requests in flight to the backend; 0 for no limit. Default: that
	// of the pool.
	MaxRequests *int `json:"max_requests,omitempty" usage:"maximum number of requests in flight (default that of the pool)"`
	// MaxRequestsFleet makes MaxRequests, which it needs, the limit of all instances of the fleet
	// together. Default: false, where each instance has the limit for itself.
	MaxRequestsFleet bool `json:"max_requests_fleet,omitempty" usage:"divide max-requests among the instances of the fleet"`
	// Tier is the priority level, at most 65535. A tier gets the requests that lower tiers
	// cannot take. Default: 0.
	Tier int `json:"tier,omitempty" usage:"tier; lower tiers serve first"`
	// Backup makes the backend serve only while no other backend of any tier can. The admin API shows its tier
	// as 1. Default: false.
	Backup bool `json:"backup,omitempty" usage:"serve only while no other backend can"`
	// Group is the name of the pool's group that the backend belongs to. Default: none, which is the
	// main group.
	Group string `json:"group,omitempty" usage:"group of the pool that the backend belongs to (default the main group)"`
	// Zone is the zone or data center of the backend: readable text of at most 512 bytes. The pool's
	// `locality` compares it with the zone of the instance. Default: none.
	Zone string `json:"zone,omitempty" usage:"zone of the backend"`
	// Instance identifies what runs at the address, such as the id of a container or of a boot:
	// readable text of at most 512 bytes. When the instance at an address changes, the backend starts
	// without the state of the previous instance: its health, ejection, latencies, slow start, sessions,
	// and changes by an operator that were not for the address. Default: none, where the state belongs
	// to the address.
	Instance string `json:"instance,omitempty" usage:"identifies what runs at the address; with another one, the backend begins anew"`
	// Meta is free text by key, shown together with the backend.
	Meta map[string]string `json:"meta,omitempty" usage:"annotation, as key=value; repeatable"`
}

// Check returns an error for an option that is out of bounds, and for options that exclude one
// another.
func (s *Settings) Check() error {
	if s.Backup && s.Tier != 0 {
		return errors.New("a backup comes after all tiers; write backup or tier, not both")
	}
	return cmp.Or(Weights.Check("weight", valueOr(s.Weight, 0)), Limits.Check("max_requests", valueOr(s.MaxRequests, 0)), Tiers.Check("tier", s.Tier), s.CheckZone(), s.CheckInstance())
}

// CheckZone returns an error if the zone is not a valid name.
func (s *Settings) CheckZone() error {
	if strings.TrimSpace(s.Zone) != s.Zone || !names.Readable(s.Zone) {
		return fmt.Errorf("zone must be readable text without white space around it, got %q; write a name such as eu-west-1", s.Zone)
	}
	return checkText("zone", s.Zone)
}

// CheckInstance returns an error for an instance that is not readable text.
func (s *Settings) CheckInstance() error {
	if !names.Readable(s.Instance) {
		return fmt.Errorf("instance must be readable text without control and format characters, got %q", s.Instance)
	}
	return checkText("instance", s.Instance)
}

// CheckSize returns an error for texts that are longer, or more, than what may be given at run
// time: at most 512 bytes each, and 100 entries of meta.
func (s *Settings) CheckSize() error {
	if len(s.Meta) > maxMeta {
		return fmt.Errorf("meta must have at most %d entries, got %d", maxMeta, len(s.Meta))
	}
	err := checkText("id", s.ID)
	for key, value := range s.Meta {
		err = errors.Join(err, checkText("a key of meta", key), checkText("a value of meta", value))
	}
	return err
}

func checkText(name, text string) error {
	if len(text) > maxText {
		return fmt.Errorf("%s must have at most %d bytes, got %d", name, maxText, len(text))
	}
	return nil
}

// valueOr returns the value of an option, or its default.
func valueOr(option *int, value int) int {
	if option == nil {
		return value
	}
	return *option
}

// Endpoint is one backend as the configuration, discovery or the admin API describes it, with
// the defaults of the pool. Read-only.
type Endpoint struct {
	// Address is the dial address, as in [github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy.Upstream].
	Address string
	Settings
	// Draining reports that discovery wants the backend to be drained; see [Backend.SetDraining]. It changes
	// over time.
	Draining bool `json:"-"`
	// Resolved are the IP addresses of the host name, if discovery has already looked it up; see
	// [Backend.Resolve]. They change over time.
	Resolved []string `json:"-"`
}
