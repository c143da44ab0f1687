// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package orca

import (
	"encoding/base64"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// binary parses the message in base64. gRPC requires receivers to accept it with and without
// padding, and grpc-go sends none. The alphabet is the standard one.
func (p *parser) binary(s string) error {
	encoding := base64.RawStdEncoding
	if len(s)%4 == 0 { // no padding needed, or padded
		encoding = base64.StdEncoding
	}
	b, err := encoding.DecodeString(s)
	if err != nil {
		return fmt.Errorf("must be base64 of the standard alphabet: %w", err)
	}
	return p.message(b)
}

// message parses the message in protobuf.
func (p *parser) message(b []byte) error {
	for len(b) > 0 {
		n, err := p.wireField(b)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// wireField parses the first field of b, and returns its length. It skips the fields that are not
// read.
func (p *parser) wireField(b []byte) (length int, err error) {
	number, wire, tag := protowire.ConsumeTag(b)
	if tag < 0 {
		return 0, malformed(tag)
	}
	if number > protowire.MaxValidNumber { // ConsumeTag accepts these
		return 0, fmt.Errorf("must be an OrcaLoadReport in protobuf: invalid field number %d", number)
	}
	b = b[tag:]
	if p.metric.number != 0 && int(number) == p.metric.number && wire == protowire.BytesType {
		entry, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return 0, malformed(n)
		}
		return tag + n, p.wireEntry(entry)
	}
	if number >= endOfFields || !fields[number].read {
		n := protowire.ConsumeFieldValue(number, wire, b)
		if n < 0 {
			return 0, malformed(n)
		}
		return tag + n, nil
	}
	want := protowire.Fixed64Type
	if number == rps {
		want = protowire.VarintType
	}
	if wire != want {
		return 0, fmt.Errorf("%s must have wire type %d, got %d", fields[number].name, want, wire)
	}
	var v float64
	var n int
	if number == rps {
		var bits uint64
		bits, n = protowire.ConsumeVarint(b)
		v = float64(bits)
	} else {
		var bits uint64
		bits, n = protowire.ConsumeFixed64(b)
		v = math.Float64frombits(bits)
	}
	if n < 0 {
		return 0, malformed(n)
	}
	return tag + n, p.set(int(number), v)
}

func malformed(n int) error {
	return fmt.Errorf("must be an OrcaLoadReport in protobuf: %w", protowire.ParseError(n))
}
