// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/fleet"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/shared"
)

// FleetReport is the response to GET /ballast/fleet: the fleet as this instance sees it.
type FleetReport struct {
	ID        string  `json:"id"`                // of this instance
	Name      string  `json:"name"`              // its configured name, or the host name
	Zone      string  `json:"zone,omitempty"`    // its zone
	Heartbeat float64 `json:"heartbeat_seconds"` // the interval of heartbeats
	// Store is whether the store can be reached.
	Store FleetStore `json:"store"`
	// Pending is the number of changes of this instance that are waiting to be pushed, and Lag the age of the
	// oldest, in seconds.
	Pending int     `json:"pending"`
	Lag     float64 `json:"lag_seconds"` // see Pending
	// Stale is for how long no changes of others could be read; 0 normally.
	Stale float64 `json:"stale_seconds"`
	// Synced reports that this instance has read all records of the store, or has waited for them for the
	// configured time.
	Synced bool `json:"synced"`
	// Resyncs counts the times that all records were read, by cause.
	Resyncs  map[string]uint64 `json:"resyncs"`
	Pushed   uint64            `json:"pushed"`   // records pushed to the store
	Received uint64            `json:"received"` // records received from the store
	// Generation increases with each instance that joins or leaves.
	Generation uint64 `json:"generation"`
	// Alone reports that the store has not been reached yet, so that other instances are unknown.
	Alone bool `json:"alone"`
	// Settled reports that the shares are final: none has yet to grow until those of other instances have
	// shrunk.
	Settled   bool            `json:"settled"`
	Instances []FleetInstance `json:"instances"` // the living ones, by id
	Shares    []FleetShare    `json:"shares"`    // of this instance, in limits of the fleet
	// Isolated are the pools of which this instance sees most backends down, while most others do
	// not.
	Isolated []string `json:"isolated"`
}

// FleetStore is the state of the store of a fleet.
type FleetStore struct {
	Connected bool       `json:"connected"`       // the latest calls have succeeded
	Error     string     `json:"error,omitempty"` // the latest, while calls fail
	Since     *time.Time `json:"since,omitempty"` // of the first failure
}

// FleetInstance is a living instance.
type FleetInstance struct {
	fleet.Instance
	Self  bool        `json:"self,omitempty"` // this instance
	Pools []FleetHint `json:"pools"`          // states of its pools
}

// FleetHint is the state of a pool on an instance.
type FleetHint struct {
	Pool    string `json:"pool"`    // name
	Members int    `json:"members"` // backends that the instance has
	Down    int    `json:"down"`    // those that are down
	Ejected int    `json:"ejected"` // those that are ejected
	// Digest are its figures, which can be added up; nil if it has not said them.
	Digest *membership.Digest `json:"digest,omitempty"`
}

// FleetShare is the share of this instance in a limit of the fleet: the limit of a backend, or of a shed handler.
type FleetShare struct {
	Pool    string `json:"pool,omitempty"`    // of a backend
	Backend string `json:"backend,omitempty"` // its id
	Shed    string `json:"shed,omitempty"`    // name of the handler, as in metrics
	Limit   int    `json:"limit"`             // of all instances together
	Share   int    `json:"share"`             // of this instance
}

// FleetSummary is the fleet in short.
type FleetSummary struct {
	ID        string   `json:"id"`              // of this instance
	Instances int      `json:"instances"`       // living ones
	Connected bool     `json:"connected"`       // as in FleetStore
	Error     string   `json:"error,omitempty"` // as in FleetStore
	Isolated  []string `json:"isolated"`        // as in FleetReport
}

// fleetSummary returns the summary of the fleet; nil if there is none.
func fleetSummary() *FleetSummary {
	f, _ := fleets.Current()
	if f == nil {
		return nil
	}
	s := f.Status()
	return &FleetSummary{ID: s.ID, Instances: len(s.Instances), Connected: s.Store.Connected, Error: s.Store.Error, Isolated: isolatedPools()}
}

// isolatedPools returns the names of the pools of which this instance is isolated.
func isolatedPools() []string {
	names := []string{}
	for _, p := range pool.Pools() {
		if m := p.Manager(); m != nil && m.Isolated() {
			names = append(names, p.Name)
		}
	}
	return names
}

// fleets are the fleets of the running configurations.
var fleets shared.Generations[*fleet.Fleet]

// StartFleet makes f the fleet that is reported, until StopFleet. f may be nil.
func StartFleet(f *fleet.Fleet) { fleets.Push(f) }

// StopFleet undoes StartFleet.
func StopFleet(f *fleet.Fleet) { fleets.Remove(f) }

// OfFleet returns the report of the fleet of the running configuration; false if it has none.
func OfFleet() (out FleetReport, ok bool) {
	f, _ := fleets.Current()
	if f == nil {
		return out, false
	}
	s := f.Status()
	out = FleetReport{
		ID: s.ID, Name: s.Name, Zone: s.Zone, Heartbeat: s.Heartbeat.Seconds(),
		Store:   FleetStore{Connected: s.Store.Connected, Error: s.Store.Error, Since: s.Store.Since},
		Pending: s.Pending, Lag: s.Lag.Seconds(), Stale: s.Stale.Seconds(), Synced: s.Synced, Resyncs: s.Resyncs, Pushed: s.Pushed, Received: s.Received,
		Generation: s.Generation, Alone: s.Alone, Settled: s.Settled,
		Instances: []FleetInstance{}, Shares: []FleetShare{}, Isolated: isolatedPools(),
	}
	hints := make(map[string][]FleetHint)
	for _, p := range pool.Pools() {
		for _, b := range p.View().Members.All {
			if limit, share, ok := b.FleetLimit(); ok {
				out.Shares = append(out.Shares, FleetShare{Pool: p.Name, Backend: b.ID, Limit: limit, Share: share})
			}
		}
		if m := p.Manager(); m != nil {
			for _, h := range m.Hints() {
				hints[h.Instance] = append(hints[h.Instance], FleetHint{Pool: p.Name, Members: h.Members, Down: h.Down, Ejected: h.Ejected, Digest: h.Digest})
			}
		}
	}
	for _, s := range sheds() {
		if s.FleetLimit > 0 {
			out.Shares = append(out.Shares, FleetShare{Shed: s.Name, Limit: s.FleetLimit, Share: s.Limit})
		}
	}
	for _, i := range s.Instances {
		pools := hints[i.ID]
		if pools == nil {
			pools = []FleetHint{}
		}
		out.Instances = append(out.Instances, FleetInstance{Instance: i, Self: i.ID == s.ID, Pools: pools})
	}
	return out, true
}
