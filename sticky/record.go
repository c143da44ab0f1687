// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"cmp"
	"encoding/binary"
	"time"
)

// record is a session with its version, as instances replicate it. Of two records of one session
// that with the greater version wins, and between equal versions that with the greater value.
type record struct {
	Binding
	// version orders the bindings of a session: the number of its moves in the highest 16 bits,
	// and then the complement of the time of the binding, in milliseconds since 1970. So the
	// latest move wins, and of concurrent bindings the first.
	version uint64
}

const (
	timeBits = 48
	maxMoves = 1<<16 - 1
)

// firstVersion returns the version of a session that is bound at a time.
func firstVersion(millis int64) uint64 { return versionOf(0, millis) }

// nextVersion returns the version of a session that moves. was is 0 if this instance no longer has the session;
// other instances may still have it.
func nextVersion(was uint64, millis int64) uint64 {
	moves := min(was>>timeBits+1, maxMoves)
	return max(versionOf(moves, millis), was+1) // after so many moves, it only has to be greater
}

func versionOf(moves uint64, millis int64) uint64 {
	return moves<<timeBits | ^uint64(millis)&(1<<timeBits-1)
}

// compare returns which of two records of a session wins: positive if r does. It orders as
// [fleet.Record.Compare] does.
func (r record) compare(other record) int {
	return cmp.Or(cmp.Compare(r.version, other.version), cmp.Compare(r.Backend, other.Backend),
		cmp.Compare(seconds(r.Issued), seconds(other.Issued)), cmp.Compare(seconds(r.Seen), seconds(other.Seen)))
}

// recordSize is the size of a value: the backend, when the session was issued, and when it was
// seen, in big-endian order, so that values order as records do.
const recordSize = 16

// value returns the record without its version, for the store.
func (r record) value() []byte {
	value := make([]byte, recordSize)
	binary.BigEndian.PutUint64(value, uint64(r.Backend))
	binary.BigEndian.PutUint32(value[8:], seconds(r.Issued))
	binary.BigEndian.PutUint32(value[12:], seconds(r.Seen))
	return value
}

// clocksAgree is the difference, in seconds, that rounding and the way through the store make.
const clocksAgree = 2

// parseRecord returns the record of a value, or false for an invalid one. The time of the last use
// follows from the time that the record still has to live if the clock of the other instance
// differs from this one's.
func parseRecord(version uint64, value []byte, ttl time.Duration, l Lifetimes, now int64) (r record, ok bool) {
	if len(value) != recordSize || ttl <= 0 {
		return r, false
	}
	r.version = version
	r.Backend = ID(binary.BigEndian.Uint64(value))
	r.Issued = int64(binary.BigEndian.Uint32(value[8:]))
	r.Seen = int64(binary.BigEndian.Uint32(value[12:]))
	if ahead := wholeSeconds(ttl) - l.left(r.Binding, now); ahead < -clocksAgree || ahead > clocksAgree {
		r.Seen = min(max(r.Seen+ahead, 0), now)
	}
	return r, true
}
