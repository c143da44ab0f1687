// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
)

// attemptOutcome is what {http.ballast.attempts} tells of an attempt.
type attemptOutcome struct {
	backend *backend.Backend
	status  int             // 0 without a response
	failure outlier.Failure // why there is none
	took    time.Duration   // to the response header, or the failure
}

// recordOutcome adds the outcome of an attempt to the placeholder.
func (a *attempts) recordOutcome(b *backend.Backend, took time.Duration, res *http.Response, err error) {
	o := attemptOutcome{backend: b, took: took, failure: outlier.FailureOf(err)}
	if err == nil {
		o.status = res.StatusCode
	}
	a.source.mu.Lock()
	defer a.source.mu.Unlock()
	if a.outcomes == nil {
		a.outcomes = a.outcomesRoom[:0]
	}
	a.outcomes = append(a.outcomes, o)
}

// describeOutcomes returns the value of {http.ballast.attempts}, such as a:503:12ms,b:200:8ms*. The
// asterisk marks the attempt whose answer was passed on, which is the last one that has any.
func (a *attempts) describeOutcomes() string {
	passedOn := len(a.outcomes) - 1
	for passedOn >= 0 && a.outcomes[passedOn].status == 0 {
		passedOn--
	}
	var text strings.Builder
	for i, o := range a.outcomes {
		if i > 0 {
			text.WriteByte(',')
		}
		text.WriteString(o.backend.ID)
		text.WriteByte(':')
		if o.status > 0 {
			text.WriteString(strconv.Itoa(o.status))
		} else {
			text.WriteString(o.failure.String())
		}
		text.WriteByte(':')
		text.WriteString(rounded(o.took).String())
		if i == passedOn {
			text.WriteByte('*')
		}
	}
	return text.String()
}

// rounded rounds to microseconds below a millisecond, else to milliseconds.
func rounded(d time.Duration) time.Duration {
	if d < time.Millisecond {
		return d.Round(time.Microsecond)
	}
	return d.Round(time.Millisecond)
}
