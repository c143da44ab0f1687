// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package orca

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// json parses what follows JSON: the message in the JSON of proto3. Names are
// those of the proto or in camel case, numbers may be strings, null is as good
// as absent, and what has no meaning is an error. [json.Unmarshal] would take
// names in any case and the last of two, and needs ten times as long.
func (d *draft) json(s string) error {
	if !json.Valid([]byte(s)) {
		return fmt.Errorf("must be JSON: %w", json.Unmarshal([]byte(s), new(json.RawMessage)))
	}
	if !utf8.ValidString(s) { // which Valid does not look at
		return errors.New("must be UTF-8")
	}
	c := cursor{s}
	if c.next() != "{" {
		return errors.New("must be a JSON object")
	}
	return c.members(func(name string) error {
		for number := cpuField; number < endOfFields; number++ {
			if name == fields[number].name || name == fields[number].camel {
				return d.member(&c, number)
			}
		}
		return fmt.Errorf("must have fields of OrcaLoadReport, got %.40q", name)
	})
}

// member reads the value of a field.
func (d *draft) member(c *cursor, number int) error {
	if err := d.once(number); err != nil {
		return err
	}
	f := &fields[number]
	token := c.next()
	switch {
	case token == "null":
		return nil
	case !f.isMap():
		v, err := f.parse(unquote(token))
		if err == nil {
			d.set(number, v)
		}
		return err
	case token != "{":
		return fmt.Errorf("%s must be a JSON object, got %.40q", f.name, token)
	}
	return c.members(func(key string) error {
		v, err := f.parse(unquote(c.next()))
		if err != nil {
			return err
		}
		return d.putOnce(number, key, v)
	})
}

// cursor goes through valid JSON.
type cursor struct{ rest string }

// next returns the token that comes next: a mark of punctuation, a string in its
// quotes, a number or a word.
func (c *cursor) next() (token string) {
	s := strings.TrimLeft(c.rest, " \t\r\n")
	n := 1
	switch s[0] {
	case '{', '}', '[', ']', ':', ',':
	case '"':
		for s[n] != '"' {
			if s[n] == '\\' {
				n++
			}
			n++
		}
		n++
	default:
		if n = strings.IndexAny(s, " \t\r\n,]}"); n < 0 {
			n = len(s)
		}
	}
	c.rest = s[n:]
	return s[:n]
}

// members goes through an object behind its brace; member reads the value of
// each name.
func (c *cursor) members(member func(name string) error) error {
	for {
		token := c.next()
		switch token {
		case "}":
			return nil
		case ",":
			token = c.next()
		}
		c.next() // the colon
		if err := member(unquote(token)); err != nil {
			return err
		}
	}
}

// unquote returns what a token stands for, if it is a string.
func unquote(token string) string {
	switch {
	case token[0] != '"':
		return token
	case strings.IndexByte(token, '\\') < 0:
		return token[1 : len(token)-1]
	}
	var s string
	_ = json.Unmarshal([]byte(token), &s) // it is valid
	return s
}
