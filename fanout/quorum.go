// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"fmt"
	"math"
	"strconv"
)

// Words of a quorum.
const (
	quorumAll      = "all"
	quorumMajority = "majority"
)

// quorum is how many backends must accept a request: all of them, more than half,
// or a number.
type quorum struct {
	word string
	n    int // where word is empty
}

// parseQuorum parses all, majority or a number.
func parseQuorum(text string) (quorum, error) {
	if text == quorumAll || text == quorumMajority {
		return quorum{word: text}, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > math.MaxInt32 {
		return quorum{}, fmt.Errorf("quorum must be all, majority or a whole number of at least 1, got %q", text)
	}
	return quorum{n: n}, nil
}

// String returns the quorum as it is written.
func (q quorum) String() string {
	if q.word != "" {
		return q.word
	}
	return strconv.Itoa(q.n)
}

// need returns how many of so many backends must accept, at least one.
func (q quorum) need(of int) int {
	switch q.word {
	case quorumAll:
		return max(1, of)
	case quorumMajority:
		return of/2 + 1
	}
	return q.n
}

// result is what has become of a fan-out.
type result int

// The verdicts. All but the first are final.
const (
	undecided result = iota
	reached          // enough have accepted
	lost             // not enough can
	late             // the time was over first
	gone             // the client was, and nobody goes on without it
	stopped          // the configuration was
	results
)

var resultNames = [results]string{"undecided", "reached", "no_quorum", "timeout", "client_gone", "stopped"}

// String returns the name in metrics, placeholders and answers.
func (v result) String() string { return resultNames[v] }

// result decides: of so many backends, accepted have, and open still may.
func (q quorum) result(of, accepted, open int) result {
	switch need := q.need(of); {
	case accepted >= need:
		return reached
	case accepted+open < need:
		return lost
	}
	return undecided
}
