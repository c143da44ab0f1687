// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"
)

// textTable prints text for people.
type textTable struct {
	w *tabwriter.Writer
}

func newTable(w io.Writer) *textTable { return &textTable{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)} }

func (t *textTable) flush() error { return t.w.Flush() }

// line prints one line of text.
func (t *textTable) line(format string, args ...any) {
	fmt.Fprintln(t.w, printable(fmt.Sprintf(format, args...)))
}

// row prints the cells of a row.
func (t *textTable) row(cells ...any) {
	texts := make([]string, len(cells))
	for i, c := range cells {
		texts[i] = printable(fmt.Sprint(c))
	}
	fmt.Fprintln(t.w, strings.TrimRight(strings.Join(texts, "\t"), "\t "))
}

// printable removes control characters, which could affect a terminal: reasons contain text
// from backends.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}

func (t *textTable) pools(all []Pool) {
	t.row("POOL", "BACKENDS", "HEALTHY", "IN FLIGHT", "WAITING", "REQ/S", "ERRORS", "REFUSED", "NOTE")
	for _, p := range all {
		inFlight, rate, failed, refused := 0, 0.0, int64(0), int64(0)
		for _, b := range p.Backends {
			inFlight += b.InFlight
			rate += b.Rate
			failed += failures(&b)
		}
		for _, n := range p.Refused {
			refused += n
		}
		waiting := any("-")
		if p.Queue != nil {
			waiting = p.Queue.Waiting
		}
		note := p.Reason
		if p.Panic {
			note = "panic: health is ignored"
		}
		t.row(p.Name, len(p.Backends), fmt.Sprintf("%d/%d", p.Healthy, p.Serving), inFlight, waiting, fmt.Sprintf("%.1f", rate), failed, refused, note)
	}
}

func (t *textTable) backends(p Pool) {
	t.row("BACKEND", "ADDRESS", "STATE", "WEIGHT", "TIER", "IN FLIGHT", "REQ/S", "REQUESTS", "ERRORS", "P50", "P99", "SESSIONS", "REASON")
	for _, b := range p.Backends {
		weight, inFlight, sessions := fmt.Sprintf("%g", round(b.Weight)), fmt.Sprint(b.InFlight), any("-")
		if b.EffectiveWeight != b.Weight {
			weight += fmt.Sprintf(" (%g)", round(b.EffectiveWeight))
		}
		if b.MaxRequests > 0 || b.FleetLimit != nil {
			inFlight += fmt.Sprintf("/%d", b.MaxRequests)
		}
		if b.FleetLimit != nil {
			inFlight += fmt.Sprintf(" of %d", b.FleetLimit.MaxRequests)
		}
		if b.Sessions != nil {
			sessions = *b.Sessions
		}
		tier := any(b.Tier)
		if b.Backup {
			tier = "backup"
		}
		address := b.Address
		if address == b.ID {
			address = "-"
		}
		t.row(b.ID, address, b.State, weight, tier, inFlight, fmt.Sprintf("%.1f", b.Rate), b.Requests, failures(&b),
			quantile(b, "p50"), quantile(b, "p99"), sessions, b.Reason)
	}
}

func round(f float64) float64 {
	_, _ = fmt.Sscanf(fmt.Sprintf("%.4g", f), "%g", &f)
	return f
}

func quantile(b Backend, name string) string {
	if s, ok := b.Latency[name]; ok {
		return seconds(s)
	}
	return "-"
}

// failures returns the number of failed attempts, for all reasons.
func failures(b *Backend) (n int64) {
	for _, one := range b.Errors {
		n += one
	}
	return n
}
