// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

// Topic holds the records of a feature on this instance. Safe for concurrent use.
type Topic interface {
	// Apply merges records of other instances, as [Record.Compare] says. Records that it has
	// already, or that are invalid, change nothing. It is called on one goroutine, which it must
	// not block.
	Apply(records []Record)
	// All calls yield with each living record. A record that the store lacks is then pushed.
	All(yield func(Record) bool)
}
