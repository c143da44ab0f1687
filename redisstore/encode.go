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

// maxTTL bounds TTLs, so that a time of expiry in ms has 13 digits.
const maxTTL = 20 * 365 * 24 * time.Hour

// Lengths of what precedes the value of a record in a field of the hash; see common.lua.
const (
	timeDigits    = 13
	versionDigits = 16
)

// encodeField returns the name of the hash field of a record.
func encodeField(topic, key string) string {
	return strconv.Itoa(len(topic)) + ":" + topic + key
}

// decodeField returns the topic and the key of the record with this field name.
func decodeField(field string) (topic, key string, ok bool) {
	length, rest, found := strings.Cut(field, ":")
	n, err := strconv.Atoi(length)
	if !found || err != nil || n < 0 || n > len(rest) {
		return "", "", false
	}
	return rest[:n], rest[n:], true
}

// encodeTTL returns a TTL in milliseconds, rounded up.
func encodeTTL(ttl time.Duration) string {
	ms := (min(max(ttl, 1), maxTTL) + time.Millisecond - 1) / time.Millisecond
	return strconv.FormatInt(int64(ms), 10)
}

// encodeVersion encodes a version so that texts and numbers have the same order.
func encodeVersion(version uint64) string { return fmt.Sprintf("%016x", version) }

// decodeRecord decodes a record from its field name and value. The value begins with the TTL in place of the
// time of expiry. It returns false for what no version of this package writes.
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

// position is the decoded form of a [fleet.Cursor]: the last entry of the stream that was read.
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
