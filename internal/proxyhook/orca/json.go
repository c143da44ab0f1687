// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package orca

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// json parses the message as proto3 JSON, after the word JSON. Names are those of the proto or in
// camel case, numbers may be strings, and null counts as absent. The members are decoded one by
// one, because [json.Unmarshal] into a struct accepts names in any case and the last of two.
func (p *parser) json(s string) error {
	if !json.Valid([]byte(s)) {
		return fmt.Errorf("must be JSON: %w", json.Unmarshal([]byte(s), new(json.RawMessage)))
	}
	return members(s, p.member)
}

// members calls f for each member of an object, in order, until it returns an error.
func members(s string, f func(name string, value json.RawMessage) error) error {
	d := json.NewDecoder(strings.NewReader(s))
	if token, err := d.Token(); err != nil || token != json.Delim('{') {
		return errors.New("must be a JSON object")
	}
	var value json.RawMessage
	for d.More() {
		token, err := d.Token()
		if err == nil {
			err = d.Decode(&value)
		}
		if err != nil {
			return fmt.Errorf("must be JSON: %w", err)
		}
		name, _ := token.(string)
		if err := f(name, value); err != nil {
			return err
		}
	}
	return nil
}

// member parses one member of the object.
func (p *parser) member(name string, value json.RawMessage) error {
	for number := cpuUtilization; number < endOfFields; number++ {
		f := &fields[number]
		if name != f.name && name != f.camel {
			continue
		}
		err := p.checkOnce(number)
		if err == nil && f.isMap && number == p.metric.number {
			return p.jsonMap(value)
		}
		if err != nil || !f.read || string(value) == "null" {
			return err
		}
		return p.setDecimal(number, jsonText(value))
	}
	return fmt.Errorf("must have fields of OrcaLoadReport, got %.40q", name)
}

// jsonText returns the text of a string, or of another value as it is written.
func jsonText(value json.RawMessage) string {
	text := string(value)
	if value[0] == '"' {
		_ = json.Unmarshal(value, &text) // valid JSON
	}
	return text
}
