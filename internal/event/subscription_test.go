// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package event

import (
	"fmt"
	"testing"
)

// A subscriber that does not read is cut off when it is subscriptionBuffer events behind,
// and disturbs no other, which gets all events in their order.
func TestSlowListenerIsCutOff(t *testing.T) {
	slow, good, gone := Subscribe(), Subscribe(), Subscribe()
	gone.Close()
	defer good.Close()
	_, before := Subscriptions()
	for i := range subscriptionBuffer + 2 {
		Publish(Event{Name: fmt.Sprint(i)})
		if e := <-good.Events; e.Name != fmt.Sprint(i) {
			t.Fatalf("event %s, want %d", e.Name, i)
		}
	}
	n := 0
	for range slow.Events {
		n++
	}
	if now, cut := Subscriptions(); n != subscriptionBuffer || now != 1 || cut != before+1 {
		t.Errorf("%d events, %d listeners, %d cut off", n, now, cut-before)
	}
	slow.Close()
}
