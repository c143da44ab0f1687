// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package record describes the records that a fleet replicates, and encodes batches of them.
package record

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"hash/maphash"
	"time"
)

// Record is one replicated value. Read-only.
type Record struct {
	// Topic is the feature and its scope, such as pools/web, in 1 to 600 bytes.
	Topic string
	// Key identifies the record in its topic, in at most 600 bytes. Keys of sessions are hashes, never
	// session ids.
	Key string
	// Version orders the records of a key. The record with the greater version wins, in whatever order
	// they arrive. Between equal versions, the greater value wins.
	Version uint64
	// Value is the content, in at most 32 KiB. The topic defines the meaning of an empty value; usually it
	// is a removal.
	Value []byte
	// TTL is the time until the record expires, above 0 and at most [MaxTTL]. It is relative, so that
	// instances need no common clock. Of records that differ only in their TTL, the store keeps the one
	// that expires later.
	TTL time.Duration
}

// Bounds of a [Record]: bytes of a topic and of a key, bytes of a value, and the TTL.
const (
	MaxName  = 600
	MaxValue = 32 << 10
	MaxTTL   = 20 * 365 * 24 * time.Hour
)

// Compare compares two records of one key by version, and then by value. The result is positive if r wins, and
// 0 if they differ at most in their TTL.
func (r *Record) Compare(other *Record) int {
	return cmp.Or(cmp.Compare(r.Version, other.Version), bytes.Compare(r.Value, other.Value))
}

// Valid reports whether all fields are within their bounds.
func (r *Record) Valid() bool {
	return r.Topic != "" && len(r.Topic) <= MaxName && len(r.Key) <= MaxName && len(r.Value) <= MaxValue && r.TTL > 0 && r.TTL <= MaxTTL
}

// Size returns the approximate number of bytes that the record takes in a batch.
func (r *Record) Size() int { return len(r.Topic) + len(r.Key) + len(r.Value) + 24 }

// Hash returns a hash of topic, key, version, value and a number.
func (r *Record) Hash(seed maphash.Seed, number uint64) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	var numbers [24]byte
	binary.LittleEndian.PutUint64(numbers[:], r.Version)
	binary.LittleEndian.PutUint32(numbers[8:], uint32(len(r.Topic)))
	binary.LittleEndian.PutUint32(numbers[12:], uint32(len(r.Key)))
	binary.LittleEndian.PutUint64(numbers[16:], number)
	h.Write(numbers[:])
	h.WriteString(r.Topic)
	h.WriteString(r.Key)
	h.Write(r.Value)
	return h.Sum64()
}
