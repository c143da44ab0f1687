// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// The encoding of a batch of records, for stores that need one: a byte with the version of the encoding, the
// number of records, and for each record its topic (empty if it is that of the previous record), key, version,
// TTL in milliseconds and value. Numbers are unsigned varints, except versions, which are 8 bytes,
// little-endian. Texts and values are preceded by their length.

// batchVersion is the version of the encoding.
const batchVersion = 1

// Bounds of a batch: the number of records, and the sum of [Record.Size]. A single record may exceed the size.
const (
	MaxBatch      = 500
	MaxBatchBytes = 256 << 10
)

// Batches yields the records in batches within [MaxBatch] and [MaxBatchBytes], until yield returns false.
func Batches(records []Record, yield func([]Record) bool) {
	for len(records) > 0 {
		n, size := 0, 0
		for n < len(records) && n < MaxBatch && (n == 0 || size+records[n].Size() <= MaxBatchBytes) {
			size += records[n].Size()
			n++
		}
		if !yield(records[:n:n]) {
			return
		}
		records = records[n:]
	}
}

// decodeMax is the maximum number of records in a decoded batch.
const decodeMax = 10_000

// ErrBatch means that data is not a batch of records, or is one of a later version of Ballast.
var ErrBatch = errors.New("invalid batch of records")

// AppendBatch appends the encoding of the records to dst. The records must be valid.
func AppendBatch(dst []byte, records []Record) []byte {
	dst = append(dst, batchVersion)
	dst = binary.AppendUvarint(dst, uint64(len(records)))
	last := ""
	for i := range records {
		r := &records[i]
		topic := r.Topic
		if topic == last {
			topic = ""
		}
		last = r.Topic
		dst = appendBytes(dst, topic)
		dst = appendBytes(dst, r.Key)
		dst = binary.LittleEndian.AppendUint64(dst, r.Version)
		dst = binary.AppendUvarint(dst, uint64(max(1, r.TTL.Milliseconds())))
		dst = appendBytes(dst, r.Value)
	}
	return dst
}

func appendBytes[T string | []byte](dst []byte, text T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(text))), text...)
}

// DecodeBatch decodes a batch of at most 10,000 records. The values refer to data. The error is
// [ErrBatch].
func DecodeBatch(data []byte) (records []Record, err error) {
	if len(data) == 0 || data[0] != batchVersion {
		return nil, fmt.Errorf("%w: unknown version", ErrBatch)
	}
	d := decoder{data: data[1:]}
	n := d.uvarint()
	// A record takes at least 12 bytes, so the length of data bounds the allocation.
	if d.failed || n > decodeMax || n > uint64(len(d.data)/12) {
		return nil, fmt.Errorf("%w: too many records", ErrBatch)
	}
	records = make([]Record, 0, n)
	topic := ""
	for range n {
		if t := d.bytes(MaxName); len(t) > 0 {
			topic = string(t)
		}
		r := Record{Topic: topic, Key: string(d.bytes(MaxName)), Version: d.uint64()}
		if ttl := d.uvarint(); ttl <= uint64(MaxTTL/time.Millisecond) {
			r.TTL = time.Duration(ttl) * time.Millisecond
		}
		r.Value = d.bytes(MaxValue)
		if d.failed || !r.Valid() {
			return nil, ErrBatch
		}
		records = append(records, r)
	}
	if len(d.data) > 0 {
		return nil, fmt.Errorf("%w: data after its end", ErrBatch)
	}
	return records, nil
}

// decoder reads values from data. After a failure it returns zero values.
type decoder struct {
	data   []byte
	failed bool
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.data)
	if n <= 0 {
		d.failed, d.data = true, nil
		return 0
	}
	d.data = d.data[n:]
	return v
}

func (d *decoder) uint64() uint64 {
	if len(d.data) < 8 {
		d.failed, d.data = true, nil
		return 0
	}
	v := binary.LittleEndian.Uint64(d.data)
	d.data = d.data[8:]
	return v
}

func (d *decoder) bytes(most uint64) []byte {
	n := d.uvarint()
	if n > most || n > uint64(len(d.data)) {
		d.failed, d.data = true, nil
		return nil
	}
	b := d.data[:n:n]
	d.data = d.data[n:]
	return b
}
