// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package report_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
	"github.com/ballast-lb/caddy-ballast/internal/report"
)

// A backend and its pool report connections, and only where there were some.
func TestConnections(t *testing.T) {
	p := pool.NewPool("db")
	var all []*backend.Backend
	for _, id := range []string{"a", "b", "c"} {
		all = append(all, backend.New("db", backend.Endpoint{Address: id + ":1", Settings: backend.Settings{ID: id, Weight: new(1)}}, backend.NewState(), nil, nil))
	}
	p.SetMembers(pool.NewMembers(all))
	text := func(v any) string {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	if got := text(report.OfPool(p)); strings.Contains(got, "connections") {
		t.Errorf("without connections: %s", got)
	}
	for i, b := range all[:2] {
		c := &b.Traffic
		for range 2 {
			c.Begin()
			c.Connect(time.Duration(i+1) * time.Second)
		}
		c.Send(10)
		c.Receive(20)
		c.End(time.Minute, false)
	}
	all[2].Traffic.Begin() // has not been made
	for what, test := range map[string]struct {
		got  *report.ConnectionsReport
		want report.ConnectionsReport
	}{
		"backend":                       {report.OfBackend(p, all[1]).Connections, report.ConnectionsReport{Open: 1, Made: 2, Sent: 10, Received: 20, Connect: 2, Duration: 60}},
		"pool":                          {report.OfPool(p).Connections, report.ConnectionsReport{Open: 2, Made: 4, Sent: 20, Received: 40, Connect: 1.5, Duration: 60}},
		"backend that none was made to": {report.OfBackend(p, all[2]).Connections, report.ConnectionsReport{}},
	} {
		if test.got == nil || *test.got != test.want {
			t.Errorf("%s: got %+v, want %+v", what, test.got, test.want)
		}
	}
}
