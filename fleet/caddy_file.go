// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/fleet"
	"github.com/ballast-lb/caddy-ballast/internal/fleet/record"
)

// Each instance has two files in the storage: a beat file, in JSON, and a record file with the
// records that it has pushed, in batches. A common file has the incarnation of the storage in its
// name: if it is missing, the storage has lost its files.
const (
	beatSuffix        = ".beat"
	recordsSuffix     = ".records"
	incarnationPrefix = "incarnation-"
)

// presence is the content of a beat file.
type presence struct {
	Instance fleet.Instance `json:"instance"`
	// Beats increases with each write. Other instances measure the time since a change with their
	// own clocks.
	Beats uint64 `json:"beats"`
	// Lives is the time in milliseconds without a change after which the instance counts as dead.
	Lives int64 `json:"lives"`
	// View identifies the set of living instances that the instance has applied.
	View string `json:"view"`
	// Revision is the revision of the record file.
	Revision uint64 `json:"revision"`
	// Written is when the file was written, in milliseconds since 1970.
	Written int64 `json:"written"`
}

// maxFile is the largest file that is read, in bytes.
const maxFile = 32 << 20

func (p presence) encode() ([]byte, error) { return json.Marshal(p) }

func decodePresence(data []byte) (p presence, err error) {
	if len(data) > maxFile {
		return p, errFile
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return p, err
	}
	if p.Instance.ID == "" || len(p.Instance.ID) > 100 || p.Lives <= 0 {
		return p, errFile
	}
	return p, nil
}

var errFile = errors.New("invalid file of an instance")

// recordsMagic is the beginning of a record file, with the version of its format.
var recordsMagic = []byte("ballast\x01")

// encodeRecords returns the content of a record file.
func encodeRecords(revision uint64, now time.Time, records []fleet.Record) []byte {
	data := bytes.Clone(recordsMagic)
	data = binary.LittleEndian.AppendUint64(data, revision)
	data = binary.LittleEndian.AppendUint64(data, uint64(now.UnixMilli()))
	record.Batches(records, func(batch []fleet.Record) bool {
		encoded := record.AppendBatch(nil, batch)
		data = binary.LittleEndian.AppendUint32(data, uint32(len(encoded)))
		data = append(data, encoded...)
		return true
	})
	return data
}

// decodeRecords decodes a record file. The TTLs are the remaining ones at the time now; expired records are left
// out.
func decodeRecords(data []byte, now time.Time) (revision uint64, records []fleet.Record, err error) {
	rest, ok := bytes.CutPrefix(data, recordsMagic)
	if !ok || len(data) > maxFile || len(rest) < 16 {
		return 0, nil, errFile
	}
	revision = binary.LittleEndian.Uint64(rest)
	age := max(0, now.Sub(time.UnixMilli(int64(binary.LittleEndian.Uint64(rest[8:])))))
	for rest = rest[16:]; len(rest) > 0; {
		if len(rest) < 4 {
			return 0, nil, errFile
		}
		n := binary.LittleEndian.Uint32(rest)
		if rest = rest[4:]; uint64(n) > uint64(len(rest)) {
			return 0, nil, errFile
		}
		batch, err := record.DecodeBatch(rest[:n])
		if err != nil {
			return 0, nil, err
		}
		rest = rest[n:]
		for _, r := range batch {
			if r.TTL -= age; r.TTL > 0 {
				records = append(records, r)
			}
		}
	}
	return revision, records, nil
}

// fileName returns the name of an instance's files without suffix. It is unique, since ids end with random digits.
func fileName(id string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		}
		return '_'
	}, id)
}
