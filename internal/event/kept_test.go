// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package event

import (
	"fmt"
	"testing"
)

// The latest events are kept in their order, and those that requests cause displace only
// their own kind.
func TestKept(t *testing.T) {
	Publish(Event{Name: "backend_down", Data: map[string]any{"pool": "first"}})
	for i := range 10 * maxFrequent {
		Publish(Event{Name: FanoutFailedEvent, Data: map[string]any{"n": i}})
	}
	all := func(*Event) bool { return true }
	kept, sequence := Kept(MaxKept, all)
	frequent := 0
	for i, e := range kept {
		if e.Name == FanoutFailedEvent {
			frequent++
		}
		if i > 0 && e.Sequence <= kept[i-1].Sequence {
			t.Errorf("%d comes after %d", e.Sequence, kept[i-1].Sequence)
		}
	}
	if frequent != maxFrequent || kept[len(kept)-1].Sequence != sequence || kept[len(kept)-1].Data["n"] != 10*maxFrequent-1 {
		t.Errorf("%d frequent events, the latest is %v of %d", frequent, kept[len(kept)-1], sequence)
	}
	if first, _ := Kept(1, func(e *Event) bool { return e.Data["pool"] == "first" }); len(first) != 1 || !first[0].Warning() {
		t.Errorf("the change before them: %v", first)
	}
	for i := range MaxKept + 3 {
		Publish(Event{Name: "backend_up", Data: map[string]any{"backend": fmt.Sprint(i)}})
	}
	ups, _ := Kept(2*MaxKept, func(e *Event) bool { return e.Name == "backend_up" })
	if len(ups) != MaxKept || ups[0].Data["backend"] != "3" || ups[MaxKept-1].Data["backend"] != fmt.Sprint(MaxKept+2) {
		t.Errorf("%d kept, from %v to %v", len(ups), ups[0].Data, ups[len(ups)-1].Data)
	}
	if two, _ := Kept(2, all); len(two) != 2 || two[1].Sequence != two[0].Sequence+1 || two[1].Data["backend"] != fmt.Sprint(MaxKept+2) {
		t.Errorf("the last two: %v", two)
	}
}
