// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"fmt"
	"math"
	"strconv"
)

// Keywords of a quorum.
const (
	quorumAll      = "all"
	quorumMajority = "majority"
)

// quorum is the number of backends that must accept a request: all of them, more than half, or a fixed number.
type quorum struct {
	word string
	n    int // if word is empty
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

// String returns the quorum in the notation of the configuration.
func (q quorum) String() string {
	if q.word != "" {
		return q.word
	}
	return strconv.Itoa(q.n)
}

// need returns how many of the given number of backends must accept; at least 1.
func (q quorum) need(of int) int {
	switch q.word {
	case quorumAll:
		return max(1, of)
	case quorumMajority:
		return of/2 + 1
	}
	return q.n
}

// result is the result of a fan-out.
type result int

// The results. All but undecided are final.
const (
	undecided result = iota
	reached          // enough backends have accepted
	lost             // not enough backends can accept any more
	late             // the timeout was over first
	gone             // the client left first, and the fan-out is not detached
	stopped          // the configuration ended first
	results
)

var resultNames = [results]string{"undecided", "reached", "no_quorum", "timeout", "client_gone", "stopped"}

// String returns the name in metrics, placeholders and answers.
func (v result) String() string { return resultNames[v] }

// result returns the result when, of the given number of backends, accepted have accepted and
// open still may.
func (q quorum) result(of, accepted, open int) result {
	switch need := q.need(of); {
	case accepted >= need:
		return reached
	case accepted+open < need:
		return lost
	}
	return undecided
}
