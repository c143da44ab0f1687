// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"cmp"
	"errors"
	"math"
	"strconv"
	"strings"
	"unicode"

	"github.com/ballast-lb/caddy-ballast/internal/health"
)

// The largest numbers in an agent's answer.
const (
	maxAgentWeight  = 256           // a larger weight is invalid
	maxAgentPercent = 25600         // a larger percentage counts as this
	maxAgentBound   = math.MaxInt32 // a larger limit counts as this
)

// parseAgentLine returns the instruction in the first line of text, and the first word that
// is not recognized, or "". As in HAProxy,
//
//   - words are separated by spaces, tabs and commas; their case and order do not
//     matter;
//   - of several weights, limits, administrative states or healths the last one
//     applies;
//   - an unknown word, or one with an invalid number, is ignored;
//   - an empty line changes nothing.
//
// The text after a # is the reason why the backend is down, to the end of the line. HAProxy's
// manual puts it directly after the word, and HAProxy requires a separator before it: both
// are accepted.
func parseAgentLine(text string) (i health.Instruction, invalid string) {
	if end := strings.IndexAny(text, "\r\n"); end >= 0 {
		text = text[:end]
	}
	words, reason, _ := strings.Cut(text, "#")
	healthWord := ""
	for _, written := range strings.FieldsFunc(words, separatesWords) {
		word := strings.ToLower(written)
		understood := true
		switch {
		case word == "up", word == "down", word == "fail", word == "stopped":
			i.Up, healthWord = new(word == "up"), word
		case word == "ready":
			i.Admin = new(health.Ready)
		case word == "drain":
			i.Admin = new(health.Drain)
		case word == "maint":
			i.Admin = new(health.Maint)
		case strings.HasPrefix(word, "maxconn:"):
			i.MaxRequests = agentBound(strings.TrimPrefix(word, "maxconn:"))
			understood = i.MaxRequests != nil
		case strings.HasPrefix(word, "weight:"), word[0] >= '0' && word[0] <= '9' && strings.Contains(word, "%"):
			i.Weight = agentWeight(strings.TrimPrefix(word, "weight:"))
			understood = i.Weight != nil
		default:
			understood = false
		}
		if !understood {
			invalid = cmp.Or(invalid, written)
		}
	}
	if i.Up != nil && !*i.Up {
		i.Reason = cmp.Or(printable(strings.Trim(reason, " \t")), "the agent says "+healthWord)
	}
	return i, invalid
}

func separatesWords(r rune) bool { return r == ' ' || r == '\t' || r == ',' }

// agentWeight parses a weight: "5", or "5%" of the configured weight. It returns nil for an
// invalid one.
func agentWeight(text string) *health.AgentWeight {
	number, relative := strings.CutSuffix(text, "%")
	n, ok := agentNumber(number)
	switch {
	case !ok || !relative && n > maxAgentWeight:
		return nil
	case relative:
		return &health.AgentWeight{Value: float64(min(n, maxAgentPercent)) / 100, Relative: true}
	}
	return &health.AgentWeight{Value: float64(n)}
}

// agentBound parses a limit of requests in flight, or returns nil.
func agentBound(text string) *int {
	n, ok := agentNumber(text)
	if !ok {
		return nil
	}
	return new(int(min(n, maxAgentBound)))
}

// agentNumber parses digits. A number that is too large counts as the largest.
func agentNumber(text string) (n uint64, ok bool) {
	n, err := strconv.ParseUint(text, 10, 64)
	return n, err == nil || errors.Is(err, strconv.ErrRange)
}

// printable replaces control characters and the like, which could garble a log or a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}
