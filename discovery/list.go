// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// ParseList parses a list of backends, which is one of:
//
//   - JSON of Prometheus' HTTP service discovery: [{"targets": ["10.0.0.1:80"], "labels": {"zone": "a"}}]
//   - a JSON array of addresses and of objects with an address and options:
//     ["10.0.0.1:80", {"address": "10.0.0.2:80", "weight": 2, "state": "draining"}]
//   - text with a backend on each line, and # before comments: 10.0.0.2:80 weight=2 state=draining
//
// The options, and the labels, are id, instance, weight, tier, zone, backup and state. Others are
// metadata.
func ParseList(data []byte) ([]Endpoint, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if text := bytes.TrimSpace(data); len(text) > 0 && (text[0] == '[' || text[0] == '{') {
		return parseJSON(text)
	}
	return parseLines(string(data))
}

// listed is one element of a JSON list.
type listed struct {
	Endpoint *string                    // of a string
	Targets  []string                   // of a group
	Labels   map[string]string          // likewise
	Options  map[string]json.RawMessage // of an object
}

// UnmarshalJSON implements [json.Unmarshaler].
func (l *listed) UnmarshalJSON(data []byte) error {
	if data[0] == '"' {
		l.Endpoint = new(string)
		return json.Unmarshal(data, l.Endpoint)
	}
	if err := json.Unmarshal(data, &l.Options); err != nil {
		return err
	}
	if l.Options == nil {
		return errors.New("null is no backend")
	}
	targets, ok := l.Options["targets"]
	if !ok {
		return nil
	}
	if err := json.Unmarshal(targets, &l.Targets); err != nil {
		return fmt.Errorf("targets: %w", err)
	}
	if labels, ok := l.Options["labels"]; ok {
		if err := json.Unmarshal(labels, &l.Labels); err != nil {
			return fmt.Errorf("labels: %w", err)
		}
	}
	l.Options = nil
	return nil
}

func parseJSON(data []byte) (all []Endpoint, err error) {
	var list []listed
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("the list is not an array of addresses, of objects with an address, or of groups with targets: %w", err)
	}
	for i, l := range list {
		switch {
		case l.Endpoint != nil:
			all = append(all, Endpoint{Address: *l.Endpoint})
		case l.Options != nil:
			e, err := fromOptions(l.Options)
			if err != nil {
				return nil, fmt.Errorf("element %d: %w", i, err)
			}
			all = append(all, e)
		default:
			for _, t := range l.Targets {
				e := Endpoint{Address: t}
				if err := e.labels(l.Labels, ""); err != nil {
					return nil, fmt.Errorf("element %d: %w", i, err)
				}
				all = append(all, e)
			}
		}
		if len(all) > maxEndpoints {
			return nil, errTooMany
		}
	}
	return all, nil
}

// fromOptions returns the endpoint of an object.
func fromOptions(options map[string]json.RawMessage) (e Endpoint, err error) {
	for name, raw := range options {
		if name == "meta" {
			var meta map[string]string
			if err := json.Unmarshal(raw, &meta); err != nil {
				return e, fmt.Errorf("meta: %w", err)
			}
			for key, value := range meta {
				e.annotate(key, value)
			}
			continue
		}
		var value string
		if json.Unmarshal(raw, &value) != nil {
			value = string(raw) // a number or true
		}
		if name == "address" {
			e.Address = value
		} else if err := e.label(name, value); err != nil {
			return e, err
		}
	}
	if e.Address == "" {
		return e, errors.New("the address is missing")
	}
	return e, nil
}

func parseLines(text string) (all []Endpoint, err error) {
	n := 0
	for line := range strings.SplitSeq(text, "\n") {
		n++
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		e := Endpoint{Address: fields[0]}
		for _, f := range fields[1:] {
			name, value, ok := strings.Cut(f, "=")
			if !ok {
				return nil, fmt.Errorf("line %d: an option must be name=value, got %q", n, f)
			}
			if err := e.label(name, value); err != nil {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
		}
		if all = append(all, e); len(all) > maxEndpoints {
			return nil, errTooMany
		}
	}
	return all, nil
}
