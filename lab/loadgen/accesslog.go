// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package loadgen

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// Arrival is a request of an access log.
type Arrival struct {
	// At is the time of the request since the first one of the log.
	At time.Duration
	// URI is its path with the query.
	URI string
}

// ReadAccessLog reads an access log of Caddy in its JSON format, and returns the requests in the
// order of their arrival. Lines that are not requests are ignored. A line is written at the end of
// a request, so its duration, in seconds unless it has a unit, is subtracted from its time.
func ReadAccessLog(r io.Reader) ([]Arrival, error) {
	type came struct {
		at  time.Time
		uri string
	}
	var all []came
	lines := bufio.NewReader(r)
	for number := 1; ; number++ {
		line, err := lines.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if len(line) > 0 {
			var entry struct {
				Time     json.RawMessage `json:"ts"`
				Duration json.RawMessage `json:"duration"`
				Request  *struct {
					URI string `json:"uri"`
				} `json:"request"`
			}
			if err := json.Unmarshal(line, &entry); err != nil {
				return nil, fmt.Errorf("line %d is not the JSON of an access log: %w", number, err)
			}
			if entry.Request != nil && entry.Duration != nil {
				ended, err1 := logTime(entry.Time)
				took, err2 := logDuration(entry.Duration)
				if err := errors.Join(err1, err2); err != nil {
					return nil, fmt.Errorf("line %d: %w", number, err)
				}
				all = append(all, came{ended.Add(-took), entry.Request.URI})
			}
		}
		if err != nil {
			break
		}
	}
	if len(all) == 0 {
		return nil, errors.New("the log has no requests")
	}
	slices.SortStableFunc(all, func(a, b came) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
	arrivals := make([]Arrival, len(all))
	for i, c := range all {
		arrivals[i] = Arrival{c.at.Sub(all[0].at), c.uri}
	}
	return arrivals, nil
}

// logFormats are the values of Caddy's time_format that have a date.
var logFormats = []string{
	time.RFC3339Nano, "2006-01-02T15:04:05.000Z0700", "2006/01/02 15:04:05.000", "02/Jan/2006:15:04:05 -0700",
}

// logTime reads a time as a text, or as seconds, milliseconds or nanoseconds since 1970, which differ by
// their size.
func logTime(raw json.RawMessage) (time.Time, error) {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		for _, format := range logFormats {
			if t, err := time.Parse(format, text); err == nil {
				return t, nil
			}
		}
		return time.Time{}, fmt.Errorf("the time %s has an unknown format", raw)
	}
	var number float64
	if err := json.Unmarshal(raw, &number); err != nil {
		return time.Time{}, fmt.Errorf("ts is %q, which is no time", raw)
	}
	switch {
	case number > 1e16:
		return time.Unix(0, int64(number)), nil
	case number > 1e11:
		return time.UnixMicro(int64(number * 1e3)), nil
	}
	return time.UnixMicro(int64(number * 1e6)), nil
}

func logDuration(raw json.RawMessage) (time.Duration, error) {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return time.ParseDuration(text)
	}
	var seconds float64
	if err := json.Unmarshal(raw, &seconds); err != nil {
		return 0, fmt.Errorf("the duration is %s, which is no number", raw)
	}
	return time.Duration(seconds * float64(time.Second)), nil
}
