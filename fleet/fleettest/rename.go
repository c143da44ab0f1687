// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleettest

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/fleet"
)

// Rename replaces own, in the names of topics, by common in the store. State that outlives a
// configuration is shared by all pools of a name in the process. So instances in one process need
// pools with different names, and Rename gives them common topics. It must be called before Open.
func (l *Link) Rename(own, common string) { l.own, l.common = own, common }

// renamedConn is the connection of a link with renamed topics.
type renamedConn struct {
	fleet.Conn
	own, common string
}

func rename(records []fleet.Record, from, to string) []fleet.Record {
	records = slices.Clone(records)
	for i := range records {
		records[i].Topic = strings.ReplaceAll(records[i].Topic, from, to)
	}
	return records
}

func (c renamedConn) Push(ctx context.Context, from string, records []fleet.Record) error {
	return c.Conn.Push(ctx, from, rename(records, c.own, c.common))
}

func (c renamedConn) Changes(ctx context.Context, after fleet.Cursor, wait time.Duration) (fleet.Changes, error) {
	changes, err := c.Conn.Changes(ctx, after, wait)
	changes.Records = rename(changes.Records, c.common, c.own)
	return changes, err
}

func (c renamedConn) All(ctx context.Context, yield func([]fleet.Record)) (fleet.Cursor, error) {
	return c.Conn.All(ctx, func(records []fleet.Record) { yield(rename(records, c.common, c.own)) })
}

// Interface guard
var _ fleet.Conn = renamedConn{}
