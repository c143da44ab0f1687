// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ballast-lb/caddy-ballast/fleet"
)

// conn is the connection of an instance to the records of a fleet. Safe for concurrent use.
type conn struct {
	writing client // for Beat, Push and Leave
	reading client // for All, and for Changes, which blocks
	keys    keys
	timeout time.Duration // of a command
	records int           // the maximum in Redis

	incarnation atomic.Pointer[string] // of the latest beat
	from        atomic.Pointer[string] // id of this instance, whose own changes are skipped; nil before the first push
}

// self returns the id of the instance that has pushed over this connection, or "".
func (c *conn) self() string {
	if from := c.from.Load(); from != nil {
		return *from
	}
	return ""
}

// Bounds of one call of a script. Redis runs nothing else meanwhile. A page of All has about as many records.
const (
	maxBatch      = 1000
	maxBatchBytes = 1 << 20
	pageRecords   = 1000
	readEntries   = 64 // entries of the stream that one command reads
)

// run runs a script. Its time limit allows for connecting, logging in, and sending the script if Redis does
// not have it.
func (c *conn) run(ctx context.Context, on client, script *redis.Script, args ...any) ([]any, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout+4*c.timeout)
	defer cancel()
	reply, err := script.Run(ctx, on, c.keys, args...).Result()
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	parts, _ := reply.([]any)
	return parts, nil
}

// errReply is returned for a reply that no script of this package makes.
var errReply = errors.New("redis: the reply of a script is invalid")

// random returns a unique text, from which a new store makes its incarnation.
func random() string { return rand.Text() }

// Beat implements [fleet.Conn].
func (c *conn) Beat(ctx context.Context, self fleet.Instance, ttl time.Duration, known uint64) (fleet.Beat, error) {
	described := self
	described.Acknowledged = 0 // the script stores it apart from the description
	description, err := json.Marshal(described)
	if err != nil {
		return fleet.Beat{}, err
	}
	incarnation := ""
	if last := c.incarnation.Load(); last != nil {
		incarnation = *last
	}
	reply, err := c.run(ctx, c.writing, beatScript, random(), self.ID, description, encodeTTL(ttl), self.Acknowledged, known, incarnation)
	if err != nil {
		return fleet.Beat{}, err
	}
	beat, err := decodeBeat(reply)
	if err == nil {
		c.incarnation.Store(&beat.Incarnation)
	}
	return beat, err
}

// decodeBeat decodes the reply of beat.lua.
func decodeBeat(reply []any) (b fleet.Beat, err error) {
	texts := make([]string, 3)
	if len(reply) != 3 && len(reply) != 5 {
		return b, errReply
	}
	for i := range texts {
		texts[i], _ = reply[i].(string)
	}
	generation, err1 := strconv.ParseUint(texts[0], 10, 64)
	acknowledged, err2 := strconv.ParseUint(texts[1], 10, 64)
	if err1 != nil || err2 != nil || texts[2] == "" {
		return b, errReply
	}
	b = fleet.Beat{Generation: generation, Acknowledged: acknowledged, Incarnation: texts[2]}
	if len(reply) == 3 {
		return b, nil
	}
	applied := make(map[string]uint64)
	for id, score := range pairs(reply[4]) {
		generation, _ := strconv.ParseFloat(score, 64)
		applied[id] = uint64(generation)
	}
	for id, description := range pairs(reply[3]) {
		var instance fleet.Instance
		if json.Unmarshal([]byte(description), &instance) != nil || instance.ID != id {
			continue // written by another version of Ballast
		}
		instance.Acknowledged = applied[id]
		b.Instances = append(b.Instances, instance)
	}
	return b, nil
}

// Leave implements [fleet.Conn].
func (c *conn) Leave(ctx context.Context, id string) error {
	_, err := c.run(ctx, c.writing, leaveScript, random(), id)
	return err
}

// Push implements [fleet.Conn].
func (c *conn) Push(ctx context.Context, from string, records []fleet.Record) error {
	if from != c.self() {
		c.from.Store(&from)
	}
	args := make([]any, 0, 3+4*min(len(records), maxBatch))
	for len(records) > 0 {
		args = append(args[:0], random(), from, c.records)
		bytes, n := 0, 0
		for n < len(records) && n < maxBatch && bytes < maxBatchBytes {
			r := &records[n]
			args = append(args, encodeField(r.Topic, r.Key), encodeTTL(r.TTL), encodeVersion(r.Version), r.Value)
			bytes += len(r.Topic) + len(r.Key) + len(r.Value)
			n++
		}
		if _, err := c.run(ctx, c.writing, pushScript, args...); err != nil {
			return err
		}
		records = records[n:]
	}
	return nil
}

// All implements [fleet.Conn].
func (c *conn) All(ctx context.Context, yield func([]fleet.Record)) (fleet.Cursor, error) {
	var start fleet.Cursor
	for page := "0"; ; {
		reply, err := c.run(ctx, c.reading, pageScript, page, pageRecords)
		if err != nil {
			return "", err
		}
		if len(reply) != 4 {
			return "", errReply
		}
		var texts [3]string
		for i := range texts {
			texts[i], _ = reply[i].(string)
		}
		if start == "" {
			number, err := strconv.ParseUint(texts[1], 10, 64)
			if err != nil {
				return "", errReply
			}
			start = position{texts[2], number}.cursor()
		}
		var records []fleet.Record
		for field, value := range pairs(reply[3]) {
			if r, ok := decodeRecord(field, value); ok {
				records = append(records, r)
			}
		}
		byTopic(records)
		yield(records) // also if there are none, so that the fleet sees progress
		if page = texts[0]; page == "0" {
			return start, nil
		}
	}
}

// pairs yields the fields and values of a reply in which they alternate.
func pairs(reply any) func(yield func(field, value string) bool) {
	return func(yield func(field, value string) bool) {
		parts, _ := reply.([]any)
		for i := 0; i+1 < len(parts); i += 2 {
			field, _ := parts[i].(string)
			value, _ := parts[i+1].(string)
			if !yield(field, value) {
				return
			}
		}
	}
}

// Close implements [fleet.Conn].
func (c *conn) Close() error { return errors.Join(c.writing.Close(), c.reading.Close()) }

// Interface guards
var _ fleet.Conn = (*conn)(nil)
