// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Command benchtable makes tables of what `go test -bench -benchmem` prints:
//
//	go test ./selection -run '^$' -bench Select -count 5 | go run ./internal/benchtable
//
// Benchmarks named Name/policy/where/backends become a row for each
// policy and a column for each number of backends, compared with Caddy's
// round_robin if that is among them. Of those that report no ns/op it prints the
// metrics, and metrics named unit:what as a row for each what. Values are medians.
package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

type result map[string][]float64 // by unit, as in ns/op, of each run

var (
	line  = regexp.MustCompile(`^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+(.*)$`)
	sized = regexp.MustCompile(`^(\w+)/(.+)/(\d+)$`)
)

func main() { tables(os.Stdin, os.Stdout) }

// tables makes them of what it reads.
func tables(r io.Reader, out io.Writer) {
	results := make(map[string]result)
	var names []string // in order of appearance
	in := bufio.NewScanner(r)
	for in.Scan() {
		m := line.FindStringSubmatch(in.Text())
		if m == nil {
			fmt.Fprintln(os.Stderr, in.Text()) // what went wrong, or progress
			continue
		}
		if results[m[1]] == nil {
			results[m[1]], names = make(result), append(names, m[1])
		}
		for f := strings.Fields(m[2]); len(f) >= 2; f = f[2:] {
			if v, err := strconv.ParseFloat(f[0], 64); err == nil {
				results[m[1]][f[1]] = append(results[m[1]][f[1]], v)
			}
		}
	}
	var titles []string
	for _, name := range names {
		if m := cell(name, results[name]); m == nil {
			metrics(out, name, results[name])
		} else {
			titles = add(titles, m[1])
		}
	}
	for _, t := range titles {
		table(out, t, names, results)
	}
}

// cell returns what a benchmark is of, as sized has it, or nil if it has no place in a
// table: by its name, or for want of ns/op.
func cell(name string, r result) []string {
	if median(r["ns/op"]) == 0 {
		return nil
	}
	return sized.FindStringSubmatch(name)
}

// metrics prints one benchmark, a metric a line, and then those that several have.
func metrics(out io.Writer, name string, r result) {
	fmt.Fprintln(out, "\n"+name)
	var units, subjects []string
	for _, metric := range slices.Sorted(maps.Keys(r)) {
		switch unit, subject, ok := strings.Cut(metric, ":"); {
		case ok:
			units, subjects = add(units, unit), add(subjects, subject)
		case metric != "ns/op" || median(r[metric]) > 0:
			fmt.Fprintf(out, "  %-30s %.4g\n", metric, median(r[metric]))
		}
	}
	if len(subjects) == 0 {
		return
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	defer w.Flush()
	fmt.Fprintf(w, "\t%s\t", strings.Join(units, "\t"))
	for _, s := range subjects {
		fmt.Fprintf(w, "\n%s\t", s)
		for _, unit := range units {
			if values := r[unit+":"+s]; len(values) > 0 {
				fmt.Fprintf(w, "%.4g", median(values))
			}
			fmt.Fprint(w, "\t")
		}
	}
	fmt.Fprintln(w)
}

// table prints the benchmarks of one name: nanoseconds, how many times those of
// the reference if there is one, and allocations if there are any.
func table(out io.Writer, title string, names []string, results map[string]result) {
	var rows []string
	var sizes []int
	for _, name := range names {
		if m := cell(name, results[name]); m != nil && m[1] == title {
			n, _ := strconv.Atoi(m[3])
			rows, sizes = add(rows, m[2]), add(sizes, n)
		}
	}
	slices.SortFunc(sizes, cmp.Compare[int])
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	defer w.Flush()
	base := func(n int) float64 {
		return median(results[fmt.Sprintf("%s/caddy_round_robin/list/%d", title, n)]["ns/op"])
	}
	what := "ns/op"
	if base(sizes[0]) > 0 {
		what += " (times round_robin)"
	}
	fmt.Fprintf(w, "\n%s, %s\t", title, what)
	for _, n := range sizes {
		fmt.Fprintf(w, "%d\t", n)
	}
	for _, row := range rows {
		fmt.Fprintf(w, "\n%s\t", row)
		for _, n := range sizes {
			r := results[fmt.Sprintf("%s/%s/%d", title, row, n)]
			fmt.Fprintf(w, "%.0f", median(r["ns/op"]))
			if b := base(n); b > 0 {
				fmt.Fprintf(w, " (%.1f)", median(r["ns/op"])/b)
			}
			if allocs := median(r["allocs/op"]); allocs > 0 {
				fmt.Fprintf(w, " %.0f allocs", allocs)
			}
			fmt.Fprint(w, "\t")
		}
	}
	fmt.Fprintln(w)
}

func add[T comparable](set []T, v T) []T {
	if slices.Contains(set, v) {
		return set
	}
	return append(set, v)
}

// median returns 0 if there are no values.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(values))[len(values)/2]
}
