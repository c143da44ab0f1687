// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/ballast-lb/caddy-ballast/admin"
)

// The latest events can be had afterwards, with who has made the changes.
func TestKeptEvents(t *testing.T) {
	a := newAPI(t, load(t, answering("a:1", "b:1"), two))
	kept := func(query string) (out admin.Events) {
		t.Helper()
		w := a.do("GET", "/ballast/events?last="+query, "")
		if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || w.Code != 200 || out.Events == nil {
			t.Fatalf("status %d, %s, %v", w.Code, w.Body, err)
		}
		return out
	}
	before := kept("1").Sequence
	do := func(method, path, body string, fields ...string) {
		t.Helper()
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("User-Agent", "curl/8.5.0")
		r.RemoteAddr = "10.0.0.7:1234"
		for i := 0; i < len(fields); i += 2 {
			r.Header.Set(fields[i], fields[i+1])
		}
		w := httptest.NewRecorder()
		if a.ServeHTTP(w, r); w.Code >= 300 {
			t.Fatalf("%s %s: %d, %s", method, path, w.Code, w.Body)
		}
	}
	do("POST", backendsPath, `{"verify":false,"address":"c:1"}`)
	do("PATCH", backendsPath+"/c:1", `{"state":"drain"}`, "Ballast-User", "alice", "Ballast-Client", "dashboard")
	do("PATCH", backendsPath+"/a:1", `{"weight":3}`, "Ballast-User", "a\u202elice", "Ballast-Client", strings.Repeat("x", 1000))
	do("DELETE", backendsPath+"/c:1", "", "User-Agent", "")
	out := kept(fmt.Sprintf("500&pool=web&after=%d", before))
	var got []string
	for _, e := range out.Events {
		got = append(got, fmt.Sprintf("%s %v %v by %v, %s", e.Event, e.Data["backend"], e.Data["reason"], e.Data["who"], e.Level))
	}
	want := []string{
		"backend_added c:1  by 10.0.0.7 (curl), info",
		"backend_changed c:1 drain by alice@10.0.0.7 (dashboard), info",
		"backend_changed a weight 3 by ?@10.0.0.7 (" + strings.Repeat("x", 61) + "…), info",
		"backend_removed c:1  by 10.0.0.7, info",
	}
	if !slices.Equal(got, want) {
		t.Errorf("events\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if one := kept("1&backend=c:1"); len(one.Events) != 1 || one.Events[0].Event != "backend_removed" || one.Sequence != out.Sequence {
		t.Errorf("the last of c:1: %v", one)
	}
	if none := kept(fmt.Sprintf("1&after=%d", out.Sequence)); len(none.Events) != 0 {
		t.Errorf("after the latest: %v", none)
	}
	for query, want := range map[string]string{
		"last=0": "1 to 500", "last=501": "1 to 500", "last=x": "1 to 500", "last=1&last=2": "twice", "last=1&after=-1": "sequence number",
		"last=1&poll=web": "unknown field", "after=1": "unknown field", "backend=a": "unknown field",
	} {
		if w := a.do("GET", "/ballast/events?"+query, ""); w.Code != 400 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d, %s", query, w.Code, w.Body)
		}
	}
}
