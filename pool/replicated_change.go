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

// aspect is the property of a backend that a replicated change sets. Each aspect of an address has its own record: the
// key is the aspect, a bar and the address.
type aspect string

const (
	aspectMember      aspect = "m" // membership
	aspectAdmin       aspect = "a" // administrative state
	aspectWeight      aspect = "w" // weight
	aspectMaxRequests aspect = "r" // max_requests
)

// operatorAspects are the aspects of a member that an operator may change.
var operatorAspects = [...]aspect{aspectAdmin, aspectWeight, aspectMaxRequests}

// key returns the key of the record of an address.
func (a aspect) key(address string) string { return string(a) + "|" + address }

// splitKey is the inverse of [aspect.key].
func splitKey(key string) (aspect, string) {
	name, address, _ := strings.Cut(key, "|")
	return aspect(name), address
}

// replicatedChange is a run-time change of one aspect of a backend: the JSON value of a record. The zero value, and an
// empty record, restore the configured value. Read-only.
type replicatedChange struct {
	// By is the origin of the change, operator or registration. Instance is the id of the instance of
	// the fleet that made the change.
	By       membership.Origin `json:"by,omitempty"`
	Instance string            `json:"instance,omitempty"`
	// Who is the person or program that requested the change, as in [membership.Addition].
	Who string `json:"who,omitempty"`
	// Added is the backend that was added, for aspectMember; nil for a removal. Hidden reports that a
	// backend at the address which is configured or discovered stays removed.
	Added  *replicatedBackend `json:"added,omitempty"`
	Hidden bool               `json:"hidden,omitempty"`
	// Of is the instance of the backend to which the other aspects apply, as in [backend.Settings].
	// They do not apply to another instance at the address.
	Of string `json:"of,omitempty"`
	// ForAddress reports that the other aspects apply to every instance at the address.
	ForAddress bool `json:"for_address,omitempty"`
	// State is drain or maint, for aspectAdmin.
	State string `json:"state,omitempty"`
	// Weight is for aspectWeight, and MaxRequests for aspectMaxRequests.
	Weight      *int `json:"weight,omitempty"`
	MaxRequests *int `json:"max_requests,omitempty"`
}

// replicatedBackend is a backend that was added at run time.
type replicatedBackend struct {
	// Settings are the settings of the addition, without the defaults of the pool.
	backend.Settings
	// Registered and TTL, in milliseconds, are as in [membership.Addition].
	Registered bool  `json:"registered,omitempty"`
	TTL        int64 `json:"ttl_ms,omitempty"`
	// Since is the sequence number of the addition, which orders additions for display.
	Since int64 `json:"since,omitempty"`
}

const (
	// keptFor is the TTL of a change that is in force until it is changed again.
	keptFor = 10 * 365 * 24 * time.Hour
	// removedFor is the TTL of a change that restores the configured value, and of a removal. After it,
	// an instance that was disconnected for longer may bring an older change back.
	removedFor = 7 * 24 * time.Hour
)

// errAspect means that a record has values of another aspect than its key.
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

// checkChange returns an error if a record of the topic of a pool is invalid.
func checkChange(key string, value []byte) error {
	_, err := decodeChange(key, value)
	return err
}

// check returns an error if no instance would make the change for this aspect.
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

// maxInstanceID is the longest id of an instance, in bytes.
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
	data, _ := json.Marshal(c) // cannot fail for these types
	return data
}

// isOf reports whether a change of one of operatorAspects applies to a backend at its address.
func (c *replicatedChange) isOf(b *backend.Backend) bool { return c.ForAddress || c.Of == b.Instance }

// operatorChange returns the change to apply to a backend. kind must be one of operatorAspects.
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

// replicatedChanges splits a change by an operator into its aspects.
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

// ttl returns how long a change by an operator is kept: keptFor, or removedFor if it restores the configured value.
func (c *replicatedChange) ttl() time.Duration {
	if c.State == "" && c.Weight == nil && c.MaxRequests == nil {
		return removedFor
	}
	return keptFor
}
