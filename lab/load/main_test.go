// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ballast-lb/caddy-ballast/lab/loadgen"
)

func TestParse(t *testing.T) {
	for args, want := range map[string]string{
		"--url http://a/ --rate 5":                        "open",
		"--url http://a/ --rate 5 --arrivals fixed":       "open",
		"--url http://a/ --clients 3 --think 1s":          "closed",
		"--url http://a/ --log x --duration 0 --log-uris": "open",
		"--rate 5":                                           "--url is missing",
		"--url http://a/":                                    "one of --rate",
		"--url http://a/ --rate 5 --clients 3":               "one of --rate",
		"--url http://a/ --rate -5":                          "are positive",
		"--url http://a/ --rate 5 --duration 0":              "the duration and the timeout",
		"--url http://a/ --rate 5 --arrivals now":            "poisson or fixed",
		"--url http://a/ --rate 5 --log-uris":                "needs --log",
		"--url http://a/ --rate 5 http://b/":                 "unexpected",
		"--url http://a/ --rate 5 --header x":                "Name: value",
		"--url http://a/ --rate 5 --speed 0":                 "are positive",
		"--url http://a/ --clients 1 --timeout 0s":           "the duration and the timeout",
		"--url http://a/ --rate 5 --header X:y --method PUT": "open",
	} {
		o, err := parse(strings.Fields(args))
		if got := o.mode; err == nil && got != want || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %s, %v; want %s", args, got, err, want)
		}
	}
}

// A recorded log is sent once, with its paths, and the summary is valid JSON.
func TestRunSendsALog(t *testing.T) {
	var mu sync.Mutex
	seen := make(map[string]int)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen[r.URL.RequestURI()]++
		w.Header().Set("X-Backend", "a")
		if r.URL.Path == "/busy" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	name := filepath.Join(t.TempDir(), "access.log")
	const log = `{"ts":10.00,"request":{"uri":"/"},"duration":0}
{"ts":10.02,"request":{"uri":"/busy"},"duration":0}
{"ts":10.04,"request":{"uri":"/?q=1"},"duration":0}
`
	if err := os.WriteFile(name, []byte(log), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := parse([]string{"--url", server.URL, "--log", name, "--log-uris", "--duration", "0", "--json", "-"})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	answered, err := run(t.Context(), o, &out, io.Discard)
	if err != nil || answered != 2 {
		t.Fatalf("%d requests are answered, %v", answered, err)
	}
	var s loadgen.Summary
	if err := json.Unmarshal([]byte(out.String()), &s); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	if s.Due != 3 || s.Refused != 1 || s.Servers["a"] != 2 || s.Statuses["503"] != 1 || s.Mode != "open" {
		t.Errorf("the summary is %+v", s)
	}
	if len(seen) != 3 || seen["/?q=1"] != 1 {
		t.Errorf("the server received %v", seen)
	}
}
