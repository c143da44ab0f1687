// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ballast-lb/caddy-ballast/fleet"
)

// The fields of an entry that are not records, as append in common.lua writes them.
const (
	numberField    = "!"
	fromField      = "!from"
	instancesField = "!instances"
)

// Changes implements [fleet.Conn].
func (c *conn) Changes(ctx context.Context, after fleet.Cursor, wait time.Duration) (fleet.Changes, error) {
	last, ok := positionOf(after)
	if !ok {
		return fleet.Changes{}, fleet.ErrGap
	}
	block := max(wait, time.Millisecond)
	if wait <= 0 {
		block = -1 // do not wait
	}
	// go-redis would notice a server that does not answer only after 10 s more, and would not notice a
	// cancelled context at all.
	ctx, cancel := context.WithTimeout(ctx, max(wait, 0)+dialTimeout+4*c.timeout)
	defer cancel()
	defer c.reading.interruptAfter(ctx)()

	streams, err := c.reading.XRead(ctx, &redis.XReadArgs{Streams: []string{c.keys[changesKey], last.id}, Count: readEntries, Block: block}).Result()
	switch {
	case errors.Is(err, redis.Nil):
		return fleet.Changes{Next: after}, nil
	case err != nil && ctx.Err() != nil:
		return fleet.Changes{}, fmt.Errorf("redis: %w", context.Cause(ctx))
	case err != nil:
		return fleet.Changes{}, fmt.Errorf("redis: %w", err)
	}
	var changes fleet.Changes
	for _, stream := range streams {
		for _, entry := range stream.Messages {
			number, _ := entry.Values[numberField].(string)
			n, err := strconv.ParseUint(number, 10, 64)
			if err != nil || n != last.number+1 {
				return fleet.Changes{}, fleet.ErrGap
			}
			last = position{entry.ID, n}
			if from, _ := entry.Values[fromField].(string); from == "" || from != c.self() {
				decodeEntry(entry.Values, &changes)
			}
		}
	}
	changes.Next = last.cursor()
	return changes, nil
}

// decodeEntry adds the content of an entry to changes, with its records grouped by topic.
func decodeEntry(fields map[string]any, changes *fleet.Changes) {
	first := len(changes.Records)
	for field, value := range fields {
		if field == instancesField {
			changes.Instances = true
			continue
		}
		text, _ := value.(string)
		if r, ok := decodeRecord(field, text); ok {
			changes.Records = append(changes.Records, r)
		}
	}
	byTopic(changes.Records[first:])
}

// byTopic sorts records by their topics, so that each topic gets them together.
func byTopic(records []fleet.Record) {
	slices.SortFunc(records, func(a, b fleet.Record) int { return strings.Compare(a.Topic, b.Topic) })
}
