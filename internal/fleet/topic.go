// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

// Topic holds the records of a feature on this instance. Safe for concurrent use.
type Topic interface {
	// Apply merges records by [Record.Compare], and of equal records keeps the one that expires
	// later, or the one that expires earlier if each renewal of a record has a new version. It
	// ignores records that it already has, such as the instance's own, and invalid ones. All calls
	// are on one goroutine. Apply must not block, and must not keep the slice.
	Apply(records []Record)
	// All calls yield with each record that has not expired, until yield returns false. Records
	// that the store lacks are pushed. So removals must be included until their TTL is over:
	// otherwise a removal whose push failed would be lost. The field Topic of the records is
	// ignored.
	All(yield func(Record) bool)
}
