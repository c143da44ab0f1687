// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/fleet"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/names"
)

// aspect is what of a backend a replicated change is about. It is the first byte of the key of a
// record, which a bar and the address follow, so that changes of different aspects do not replace
// each other.
type aspect string

const (
	aspectMember      aspect = "m" // whether it is a member
	aspectAdmin       aspect = "a" // its administrative state
	aspectWeight      aspect = "w" // its weight
	aspectMaxRequests aspect = "r" // its limit
)

// operatorAspects are what an operator may change of a member.
var operatorAspects = [...]aspect{aspectAdmin, aspectWeight, aspectMaxRequests}

// key returns the key of the record of an address.
func (a aspect) key(address string) string { return string(a) + "|" + address }

// splitKey is the inverse of [aspect.key].
func splitKey(key string) (aspect, string) {
	name, address, _ := strings.Cut(key, "|")
	return aspect(name), address
}

// replicatedChange is one run-time change of a backend, as the value of a record. The zero value
// restores what is configured, as an empty value does. Read-only.
type replicatedChange struct {
	// By is operator or registration, and Instance the id of the instance, that made the change.
	By       membership.Origin `json:"by,omitempty"`
	Instance string            `json:"instance,omitempty"`
	// Who has asked that instance for it, as in [membership.Addition].
	Who string `json:"who,omitempty"`
	// Added is the backend that was added, for aspectMember. Hidden says that a backend at the
	// address that the configuration names, or discovery finds, stays removed.
	Added  *replicatedBackend `json:"added,omitempty"`
	Hidden bool               `json:"hidden,omitempty"`
	// Of is the instance of the backend, as in [backend.Settings], that the other aspects are about:
	// another one at the address begins anew.
	Of string `json:"of,omitempty"`
	// ForAddress says that the other aspects are about each instance at the address.
	ForAddress bool `json:"for_address,omitempty"`
	// State is drain or maint, for aspectAdmin.
	State string `json:"state,omitempty"`
	// Weight is for aspectWeight, and MaxRequests for aspectMaxRequests.
	Weight      *int `json:"weight,omitempty"`
	MaxRequests *int `json:"max_requests,omitempty"`
}

// replicatedBackend is a backend that was added at run time.
type replicatedBackend struct {
	// The settings are those of the addition, without the defaults of the pool.
	backend.Settings
	// Registered and TTL, in milliseconds, are as in [membership.Addition].
	Registered bool  `json:"registered,omitempty"`
	TTL        int64 `json:"ttl_ms,omitempty"`
	// Since orders the additions.
	Since int64 `json:"since,omitempty"`
}

const (
	// keptFor is the TTL of a change without an end.
	keptFor = 10 * 365 * 24 * time.Hour
	// removedFor is the TTL of a change that restores what is configured, and of a removal. An
	// instance that was away for longer may bring an older change back.
	removedFor = 7 * 24 * time.Hour
)

// errAspect says that a record has values of another aspect than its key.
var errAspect = errors.New("the value is not that of the key")

// decodeChange decodes and checks a record of the topic of a pool.
func decodeChange(key string, value []byte) (c replicatedChange, err error) {
	kind, address := splitKey(key)
	switch {
	case address == "" || len(address) > maxAddress || !utf8.ValidString(address):
		return c, fmt.Errorf("the address must have 1 to %d bytes", maxAddress)
	case len(value) > fleet.MaxValue:
		return c, fmt.Errorf("the value must have at most %d bytes, got %d", fleet.MaxValue, len(value))
	case len(value) > 0:
		if err := httpx.DecodeJSON(value, &c); err != nil {
			return replicatedChange{}, err
		}
	}
	if err := c.check(kind); err != nil {
		return replicatedChange{}, err
	}
	return c, nil
}

// checkChange returns why a record of the topic of a pool is invalid, or nil.
func checkChange(key string, value []byte) error {
	_, err := decodeChange(key, value)
	return err
}

// check returns an error for a change that no instance would have made.
func (c *replicatedChange) check(kind aspect) error {
	switch {
	case c.By != "" && c.By != membership.Added && c.By != membership.Registered:
		return fmt.Errorf("by must be operator or registration, got %q", c.By)
	case len(c.Instance) > maxInstanceID || !names.Readable(c.Instance):
		return fmt.Errorf("the instance must be readable text of at most %d bytes", maxInstanceID)
	case len(c.Who) > membership.MaxWho || !names.Readable(c.Who):
		return fmt.Errorf("who must be readable text of at most %d bytes", membership.MaxWho)
	case c.ForAddress && (c.Of != "" || kind == aspectMember):
		return errors.New("for_address is without of, and not about the membership")
	}
	rest := *c
	rest.By, rest.Instance, rest.Of, rest.Who, rest.ForAddress = "", "", "", "", false
	err := (&backend.Settings{Instance: c.Of}).CheckInstance()
	if err != nil {
		return err
	}
	switch kind {
	case aspectMember:
		if c.Added != nil {
			err = c.Added.check()
		}
		rest.Added, rest.Hidden = nil, false
	case aspectAdmin:
		rest.State, err = "", health.CheckAdmin(c.State)
	case aspectWeight:
		if rest.Weight = nil; c.Weight != nil {
			err = backend.Weights.Check("weight", *c.Weight)
		}
	case aspectMaxRequests:
		if rest.MaxRequests = nil; c.MaxRequests != nil {
			err = backend.Limits.Check("max_requests", *c.MaxRequests)
		}
	default:
		return fmt.Errorf("the key begins with none of m, a, w and r")
	}
	if err == nil && rest != (replicatedChange{}) {
		err = errAspect
	}
	return err
}

// maxInstanceID bounds the id of an instance, in bytes.
const maxInstanceID = 100

func (b *replicatedBackend) check() error {
	if b.TTL < 0 || b.TTL > maxTTL.Milliseconds() {
		return fmt.Errorf("ttl_ms must be from 0 to %d, got %d", maxTTL.Milliseconds(), b.TTL)
	}
	if b.ID != "" {
		if err := checkID(b.ID); err != nil {
			return err
		}
	}
	return errors.Join(b.Check(), b.CheckSize())
}

// encode returns the value of a record.
func (c *replicatedChange) encode() []byte {
	data, _ := json.Marshal(c) // it has nothing that cannot be encoded
	return data
}

// isOf reports whether a change of one of operatorAspects is about a backend at its address.
func (c *replicatedChange) isOf(b *backend.Backend) bool { return c.ForAddress || c.Of == b.Instance }

// operatorChange returns the change of a backend for a record of one of operatorAspects.
func (c *replicatedChange) operatorChange(kind aspect) (change membership.Change) {
	change.ForAddress = c.ForAddress
	switch kind {
	case aspectAdmin:
		state, _ := health.ParseAdmin(c.State) // checked
		change.Admin = &state
	case aspectWeight:
		change.Weight = &membership.Override{Value: c.Weight}
	case aspectMaxRequests:
		change.MaxRequests = &membership.Override{Value: c.MaxRequests}
	}
	return change
}

// replicatedChanges returns the changes to replicate of a change by an operator.
func replicatedChanges(c membership.Change) map[aspect]replicatedChange {
	all := make(map[aspect]replicatedChange)
	if c.Admin != nil {
		all[aspectAdmin] = replicatedChange{State: c.Admin.Recorded()}
	}
	if c.Weight != nil {
		all[aspectWeight] = replicatedChange{Weight: c.Weight.Value}
	}
	if c.MaxRequests != nil {
		all[aspectMaxRequests] = replicatedChange{MaxRequests: c.MaxRequests.Value}
	}
	return all
}

// ttl returns for how long an operator's change is kept: for good, or, if it restores what is
// configured, for as long as an older change may come.
func (c *replicatedChange) ttl() time.Duration {
	if c.State == "" && c.Weight == nil && c.MaxRequests == nil {
		return removedFor
	}
	return keptFor
}
