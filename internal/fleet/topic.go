// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

// Topic holds the records of a feature on this instance. Safe for concurrent use.
type Topic interface {
	// Apply merges records of other instances, as [Record.Compare] says, and of equal records
	// keeps the one that expires later. Records that it has already, or that are invalid, change
	// nothing; those of the instance itself may come back. It is called on one goroutine, which
	// it must not block, and must not keep the slice.
	Apply(records []Record)
	// All calls yield with each living record, until yield returns false. A record that the
	// store lacks is then pushed. So a removal must stay among the records until its TTL is
	// over, or a push of it that failed is never repeated. The topic of the records is ignored.
	All(yield func(Record) bool)
}
