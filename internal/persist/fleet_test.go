// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package persist

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// The changes of a fleet are read as they were written, in a bounded number, the latest ones; what is out of bounds is
// not written, and makes a snapshot invalid.
func TestFleetRecords(t *testing.T) {
	until := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	s := Snapshot{Saved: until, Fleet: []FleetRecord{
		{Pool: "web", Key: "m|b:1", Version: 1<<63 + 1, Until: until},
		{Pool: "web", Key: "a|a:1", Version: 7, Value: `{"state":"maint"}`, Until: until},
	}}
	data, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeSnapshot(data)
	if err != nil {
		t.Fatal(err)
	}
	if want := []FleetRecord{s.Fleet[1], s.Fleet[0]}; !reflect.DeepEqual(got.Fleet, want) {
		t.Errorf("got %+v, want %+v", got.Fleet, want)
	}
	for _, bad := range []FleetRecord{{Key: "m|b:1", Until: until}, {Pool: "web", Until: until}, {Pool: "web", Key: "m|b:1"},
		{Pool: "web", Key: strings.Repeat("x", 601), Until: until}, {Pool: "web", Key: "m|b:1", Value: "\xff", Until: until}} {
		s.Fleet = []FleetRecord{bad}
		if data, err := s.Encode(); err != nil || strings.Contains(string(data), `"fleet"`) {
			t.Errorf("%+v was written: %v", bad, err)
		}
	}
	if _, err := DecodeSnapshot([]byte(`{"version":1,"saved":"2026-01-02T03:04:05Z","fleet":[{"pool":"web","key":"","until":"2026-01-02T03:04:05Z"}]}`)); err == nil {
		t.Error("a change without a key is read")
	}
	s.Fleet = nil
	for i := range maxFleet + 5 {
		s.Fleet = append(s.Fleet, FleetRecord{Pool: "web", Key: fmt.Sprint(i), Version: uint64(i), Until: until})
	}
	if data, err = s.Encode(); err != nil {
		t.Fatal(err)
	}
	if got, err = DecodeSnapshot(data); err != nil || len(got.Fleet) != maxFleet {
		t.Fatalf("%d changes, %v", len(got.Fleet), err)
	}
	for _, r := range got.Fleet {
		if r.Version < 5 {
			t.Errorf("an early change, %d, is kept", r.Version)
		}
	}
}
