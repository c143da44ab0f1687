// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ballast-lb/caddy-ballast/fleet"
)

// maxTTL bounds lifetimes, so that a time of expiry has 13 digits.
const maxTTL = 20 * 365 * 24 * time.Hour

// The parts of a value before the record's own, as common.lua has them.
const (
	timeDigits    = 13
	versionDigits = 16
)

// encodeField returns the field of a record.
func encodeField(topic, key string) string {
	return strconv.Itoa(len(topic)) + ":" + topic + key
}

// decodeField returns the topic and the key of a field.
func decodeField(field string) (topic, key string, ok bool) {
	length, rest, found := strings.Cut(field, ":")
	n, err := strconv.Atoi(length)
	if !found || err != nil || n < 0 || n > len(rest) {
		return "", "", false
	}
	return rest[:n], rest[n:], true
}

// encodeTTL returns a lifetime in milliseconds, rounded up.
func encodeTTL(ttl time.Duration) string {
	ms := (min(max(ttl, 1), maxTTL) + time.Millisecond - 1) / time.Millisecond
	return strconv.FormatInt(int64(ms), 10)
}

// encodeVersion returns a version that has the order of its number as text.
func encodeVersion(version uint64) string { return fmt.Sprintf("%016x", version) }

// decodeRecord returns the record of a field and its value, whose first part is the lifetime. It
// returns false for what no version of this package writes.
func decodeRecord(field, value string) (fleet.Record, bool) {
	const header = timeDigits + versionDigits
	topic, key, ok := decodeField(field)
	if !ok || len(value) < header {
		return fleet.Record{}, false
	}
	ms, err1 := strconv.ParseInt(value[:timeDigits], 10, 64)
	version, err2 := strconv.ParseUint(value[timeDigits:header], 16, 64)
	if err1 != nil || err2 != nil || ms <= 0 {
		return fleet.Record{}, false
	}
	return fleet.Record{
		Topic: topic, Key: key, Version: version, Value: []byte(value[header:]),
		TTL: time.Duration(ms) * time.Millisecond,
	}, true
}

// position is the meaning of a [fleet.Cursor]: the latest entry of the stream that was read.
type position struct {
	id     string
	number uint64 // of the entry; 0 before the first
}

func (p position) cursor() fleet.Cursor {
	return fleet.Cursor(p.id + " " + strconv.FormatUint(p.number, 10))
}

// positionOf returns the position of a cursor, or false for the zero cursor.
func positionOf(c fleet.Cursor) (position, bool) {
	id, number, found := strings.Cut(string(c), " ")
	n, err := strconv.ParseUint(number, 10, 64)
	return position{id, n}, found && err == nil && id != ""
}
