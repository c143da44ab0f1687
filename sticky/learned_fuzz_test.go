// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// Whatever a response sets, what is learned of it is found again by a request that
// sends it back as browsers do, and nothing else is.
func FuzzLearned(f *testing.F) {
	for _, seed := range []string{
		"app=one; Path=/; HttpOnly", "app=", `app="quoted"; Secure`, "app=a=b==", "app = spaced ", "app=x; Max-Age=0", "app=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
		"other=x", "app", ";app=x", "app=\x00\xff", "app=\"", "app=x;;;Max-Age=-1", "APP=x", "app=a,b c", "",
	} {
		f.Add(seed)
	}
	store := &Memory{MaxEntries: defaultMaxEntries}
	b := backend.New("web", backend.Endpoint{Address: "a:1", Settings: backend.Settings{ID: "a", Weight: new(1)}}, backend.NewState(), nil, nil)
	f.Fuzz(func(t *testing.T, line string) {
		k := &storeSessions{store: store, lifetimes: Lifetimes{Idle: time.Hour}, learns: true}
		l := &learner{storeSessions: k, Learn: Learn{Cookie: "app"}}
		var err error
		if k.kind, k.key, err = l.Learn.key(); err != nil {
			t.Fatal(err)
		}
		if err := k.open(scope{name: t.Name()}, func(ID, Key) {}); err != nil {
			t.Fatal(err)
		}
		defer k.close()
		req := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/", nil)
		l.Answered(req, &http.Response{Header: http.Header{"Set-Cookie": {line}}}, b)
		learned := k.sessions.(*memorySessions).table.counters().entries
		ids := l.ids(http.Header{"Set-Cookie": {line}})
		if learned > len(ids) || len(ids) > 1 {
			t.Fatalf("%q: %d learned of %q", line, learned, ids)
		}
		if learned == 0 {
			return
		}
		for _, sent := range []string{ids[0], `"` + ids[0] + `"`} {
			back := req.Clone(req.Context())
			back.Header.Set("Cookie", "theme=dark; app="+sent+"; more=1")
			if s := k.find(back, nil); !s.bound || s.Backend != IDOf("a") {
				if sent == ids[0] || ids[0][0] != '"' {
					t.Errorf("%q: sent back as %q, the session is not found", line, sent)
				}
			}
		}
	})
}
