// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleettest_test

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/fleet/fleettest"
	"github.com/ballast-lb/caddy-ballast/internal/fleet"
)

// faulty is a connection to the store in memory with a fault.
type faulty struct {
	fleet.Conn
	fault string
}

func (c *faulty) Push(ctx context.Context, from string, records []fleet.Record) error {
	records = append([]fleet.Record(nil), records...)
	for i := range records {
		r := &records[i]
		switch c.fault {
		case "last push wins":
			r.Version = uint64(time.Now().UnixNano())
		case "no value order":
			r.Version <<= 1
			r.Value = r.Value[:min(1, len(r.Value))]
		case "text":
			r.Value = []byte(strings.ToValidUTF8(string(r.Value), "?"))
		case "no expiry":
			r.TTL = time.Hour
		case "no extension":
			r.TTL = min(r.TTL, 30*time.Second)
		}
	}
	if c.fault == "one" && len(records) > 0 {
		records = records[:1]
	}
	return c.Conn.Push(ctx, from, records)
}

func (c *faulty) Changes(ctx context.Context, after fleet.Cursor, wait time.Duration) (fleet.Changes, error) {
	switch c.fault {
	case "hangs":
		time.Sleep(time.Hour)
	case "from anywhere":
		if after == "" {
			return fleet.Changes{Next: "x"}, nil
		}
	case "waits for ever":
		wait = time.Hour
	}
	changes, err := c.Conn.Changes(ctx, after, wait)
	switch c.fault {
	case "missing":
		if len(changes.Records) > 1 {
			changes.Records = nil
		}
	case "backwards":
		for i, j := 0, len(changes.Records)-1; i < j; i, j = i+1, j-1 {
			changes.Records[i], changes.Records[j] = changes.Records[j], changes.Records[i]
		}
	case "silent":
		changes.Instances = false
	}
	return changes, err
}

func (c *faulty) Beat(ctx context.Context, self fleet.Instance, ttl time.Duration, known uint64) (fleet.Beat, error) {
	switch c.fault {
	case "immortal":
		ttl = time.Hour
	case "always all":
		known = 0
	case "acknowledges":
		self.Acknowledged = 1 << 40
	}
	return c.Conn.Beat(ctx, self, ttl, known)
}

func (c *faulty) Leave(ctx context.Context, id string) error {
	if c.fault == "stays" {
		return nil
	}
	return c.Conn.Leave(ctx, id)
}

// The suite detects each of these faults, in virtual time.
func TestFaultsAreFound(t *testing.T) {
	if fault := os.Getenv("FAULT"); fault != "" { // in the process that this test starts
		for _, name := range fleettest.Tests() {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					next := open(t)
					fleettest.RunTest(t, name, func() fleet.Conn { return &faulty{next(), fault} })
				})
			})
		}
		return
	}
	for fault, want := range map[string]string{
		"none": "", "last push wins": "the_greater_record_wins", "no value order": "the_greater_record_wins", "text": "records_are_stored_unchanged",
		"one": "records_are_stored_unchanged", "no expiry": "an_expired_record", "no extension": "a_later_expiry", "hangs": "a_canceled_call",
		"from anywhere": "a_zero_cursor", "waits for ever": "Changes_waits", "missing": "no_change_is_missing", "backwards": "changes_in_order",
		"silent": "a_join_or_leave", "immortal": "an_instance_without_beats", "always all": "/instances", "acknowledges": "acknowledged_generations", "stays": "/instances",
	} {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestFaultsAreFound$")
		cmd.Env = append(os.Environ(), "FAULT="+fault)
		out, err := cmd.CombinedOutput()
		found := false
		for line := range strings.Lines(string(out)) {
			found = found || strings.Contains(line, "--- FAIL") && want != "" && strings.Contains(line, want)
		}
		if (err != nil) != (want != "") || found != (want != "") {
			t.Errorf("%q: %v, want a failure of %q in\n%.3000s", fault, err, want, out)
		}
	}
}
