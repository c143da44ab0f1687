// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package orca

import (
	"encoding/base64"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// binary parses the message in base64, with or without padding: gRPC demands
// that both are read, and that Go's sends none. The alphabet is the standard one.
func (d *draft) binary(s string) error {
	encoding := base64.RawStdEncoding
	if len(s)%4 == 0 { // there is nothing to pad, or it is
		encoding = base64.StdEncoding
	}
	b, err := encoding.DecodeString(s)
	if err != nil {
		return fmt.Errorf("must be base64 of the standard alphabet: %w", err)
	}
	return d.message(b)
}

// message parses the wire form of the message. Fields that it does not know are
// skipped, and of many values of one field the last counts.
func (d *draft) message(b []byte) error {
	for len(b) > 0 {
		n, err := d.field(b)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// field parses the field that b begins with, and returns the length of it.
func (d *draft) field(b []byte) (length int, err error) {
	number, wire, tagged, err := tag(b)
	if err != nil {
		return 0, err
	}
	n := 0
	switch b := b[tagged:]; {
	case number >= endOfFields:
		n = protowire.ConsumeFieldValue(number, wire, b)
	case wire != fields[number].wire:
		return 0, fmt.Errorf("%s must have wire type %d, got %d", fields[number].name, fields[number].wire, wire)
	case wire == protowire.BytesType:
		var entry []byte
		if entry, n = protowire.ConsumeBytes(b); n >= 0 {
			err = d.entry(int(number), entry)
		}
	default:
		var v float64
		if wire == protowire.VarintType {
			var bits uint64
			bits, n = protowire.ConsumeVarint(b)
			v = float64(bits)
		} else {
			v, n = double(b)
		}
		if err = fields[number].check(v); err == nil {
			d.set(int(number), v)
		}
	}
	if n < 0 {
		return 0, corrupt(n)
	}
	return tagged + n, err
}

// entry parses one entry of a map: a message with the key as field 1 and the
// value as field 2, each of which may be absent.
func (d *draft) entry(field int, b []byte) error {
	var key []byte
	var value float64
	for len(b) > 0 {
		number, wire, n, err := tag(b)
		if err != nil {
			return err
		}
		b = b[n:]
		switch {
		case number == 1 && wire == protowire.BytesType:
			key, n = protowire.ConsumeBytes(b)
		case number == 2 && wire == protowire.Fixed64Type:
			value, n = double(b)
		case number <= 2:
			return fmt.Errorf("%s must have strings (wire type 2) and doubles (1), got wire type %d", fields[field].name, wire)
		default:
			n = protowire.ConsumeFieldValue(number, wire, b)
		}
		if n < 0 {
			return corrupt(n)
		}
		b = b[n:]
	}
	if err := fields[field].check(value); err != nil {
		return err
	}
	return d.put(field, string(key), value)
}

func tag(b []byte) (number protowire.Number, wire protowire.Type, n int, err error) {
	number, wire, n = protowire.ConsumeTag(b)
	if n < 0 {
		return 0, 0, 0, corrupt(n)
	}
	if number > protowire.MaxValidNumber { // which ConsumeTag lets pass
		return 0, 0, 0, fmt.Errorf("must be an OrcaLoadReport in protobuf: invalid field number %d", number)
	}
	return number, wire, n, nil
}

func double(b []byte) (v float64, n int) {
	bits, n := protowire.ConsumeFixed64(b)
	return math.Float64frombits(bits), n
}

func corrupt(n int) error {
	return fmt.Errorf("must be an OrcaLoadReport in protobuf: %w", protowire.ParseError(n))
}
