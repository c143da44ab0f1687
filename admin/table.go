// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// textTable prints lines and tables for people. The first row of a table is its heading, and a
// line ends the table. On a terminal, columns without values are left out, then those that the
// width has no room for, and states have colours. Elsewhere every column is printed, so that the
// columns of a script do not move. Not safe for concurrent use.
type textTable struct {
	w      io.Writer
	width  int  // columns of the terminal; 0 for no limit
	live   bool // on a terminal: leave out empty columns
	colour bool
	err    error // the first of a write

	rows     [][]string
	optional []string // headings of columns to leave out for lack of width, the first one first
}

// newTable returns a table for a writer; wide prints all columns, also on a terminal.
func newTable(w io.Writer, wide bool) *textTable {
	t := &textTable{w: w}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		t.colour = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
		if t.live = !wide; t.live {
			t.width, _, _ = term.GetSize(int(f.Fd()))
		}
	}
	return t
}

// like returns a table with the same properties for another writer.
func (t *textTable) like(w io.Writer) *textTable {
	return &textTable{w: w, width: t.width, live: t.live, colour: t.colour}
}

// line prints one line of text.
func (t *textTable) line(format string, args ...any) {
	_ = t.flush()
	t.write(printable(fmt.Sprintf(format, args...)) + "\n")
}

// row adds a row to the table.
func (t *textTable) row(cells ...any) {
	texts := make([]string, len(cells))
	for i, c := range cells {
		texts[i] = printable(fmt.Sprint(c))
	}
	t.rows = append(t.rows, texts)
}

// leaveOut names columns that are left out for lack of width, in this order.
func (t *textTable) leaveOut(headings ...string) { t.optional = headings }

func (t *textTable) write(text string) {
	if t.err == nil {
		_, t.err = io.WriteString(t.w, text)
	}
}

// flush prints the table.
func (t *textTable) flush() error {
	rows, optional := t.rows, t.optional
	if t.rows, t.optional = nil, nil; len(rows) == 0 {
		return t.err
	}
	if t.live {
		rows = withoutEmpty(rows)
	}
	var hidden []string
	for _, heading := range optional {
		i := slices.Index(rows[0], heading)
		if t.width > 0 && i >= 0 && needed(rows, t.width) > t.width {
			rows = without(rows, i)
			hidden = append(hidden, heading)
		}
	}
	columns := widths(rows)
	last := len(columns) - 1
	room := columns[last]
	if t.width > 0 {
		room = max(t.width-sum(columns[:last]), minLast)
	}
	state := slices.Index(rows[0], "STATE")
	for n, cells := range rows {
		var b strings.Builder
		for i, text := range cells {
			padding := columns[i] - utf8.RuneCountInString(text)
			if i == last {
				text, padding = clipped(text, room), 0
			}
			if t.colour && i == state && n > 0 {
				text = coloured(text)
			}
			b.WriteString(text)
			b.WriteString(strings.Repeat(" ", padding))
		}
		t.write(strings.TrimRight(b.String(), " ") + "\n")
	}
	if len(hidden) > 0 {
		t.write(clipped("not shown: "+strings.Join(hidden, ", ")+" (--wide)", t.width) + "\n")
	}
	return t.err
}

// minLast is the least width that the last column is clipped to.
const minLast = 12

// gap is the number of spaces between two columns.
const gap = 2

// widths returns the width of each column, with the gap after it.
func widths(rows [][]string) []int {
	all := make([]int, len(rows[0]))
	for _, cells := range rows {
		for i, text := range cells {
			all[i] = max(all[i], utf8.RuneCountInString(text))
		}
	}
	for i := range len(all) - 1 {
		all[i] += gap
	}
	return all
}

// needed returns the width that rows need on a terminal. The last column may be clipped: it does
// not displace others beyond a quarter of the terminal.
func needed(rows [][]string, terminal int) int {
	columns := widths(rows)
	last := len(columns) - 1
	return sum(columns[:last]) + min(columns[last], max(terminal/4, minLast))
}

func sum(all []int) (n int) {
	for _, one := range all {
		n += one
	}
	return n
}

// withoutEmpty leaves out the columns without a value.
func withoutEmpty(rows [][]string) [][]string {
	for i := len(rows[0]) - 1; i > 0; i-- {
		empty := func(cells []string) bool { return cells[i] == "" || cells[i] == "-" }
		if !slices.ContainsFunc(rows[1:], func(cells []string) bool { return !empty(cells) }) {
			rows = without(rows, i)
		}
	}
	return rows
}

// without returns rows without a column.
func without(rows [][]string, column int) [][]string {
	out := make([][]string, len(rows))
	for i, cells := range rows {
		out[i] = slices.Concat(cells[:column], cells[column+1:])
	}
	return out
}

// clipped shortens a text to a number of characters.
func clipped(text string, room int) string {
	if runes := []rune(text); len(runes) > room {
		return string(runes[:room-1]) + "…"
	}
	return text
}

// coloured colours a state: green if it is good, yellow if an operator has set it or it is temporary, and else red.
func coloured(state string) string {
	switch state {
	case "up":
		return "\x1b[32m" + state + "\x1b[0m"
	case "down", "ejected":
		return "\x1b[31m" + state + "\x1b[0m"
	}
	return "\x1b[33m" + state + "\x1b[0m"
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
