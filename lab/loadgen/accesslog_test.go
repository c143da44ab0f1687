// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package loadgen

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Requests are in the order of their arrival, not of their end.
func TestReadAccessLog(t *testing.T) {
	const log = `{"level":"info","ts":1700000000.5,"logger":"http.log.access","request":{"method":"GET","uri":"/slow"},"duration":0.5,"status":200}
{"level":"info","ts":1700000000.3,"logger":"http.log.access","request":{"method":"GET","uri":"/quick?a=b"},"duration":0.05,"status":200}
{"level":"info","ts":1700000000.4,"logger":"admin","msg":"no request"}
{"level":"info","ts":1700000001.5,"logger":"http.log.access","request":{"method":"GET","uri":"/"},"duration":0,"status":200}`
	got, err := ReadAccessLog(strings.NewReader(log))
	if err != nil {
		t.Fatal(err)
	}
	if want := "[{0s /slow} {250ms /quick?a=b} {1.5s /}]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %v", got, want)
	}
	schedule := Recorded(got, 2)
	for _, want := range []time.Duration{0, 125 * time.Millisecond, 625 * time.Millisecond, -1, -1} {
		if gap := schedule(); gap != want {
			t.Errorf("the gap to the next one is %v, want %v", gap, want)
		}
	}
}

func TestReadAccessLogTimeFormats(t *testing.T) {
	for _, ts := range []string{
		`1700000000.25`, `1700000000250`, `1700000000250000000`, `"2023-11-14T22:13:20.25Z"`, `"2023-11-14T22:13:20.250+0000"`, `"2023/11/14 22:13:20.250"`,
	} {
		line := `{"ts":` + ts + `,"request":{"uri":"/b"},"duration":"250ms"}`
		got, err := ReadAccessLog(strings.NewReader(`{"ts":1699999999.9,"request":{"uri":"/a"},"duration":0}` + "\n" + line))
		if err != nil || len(got) != 2 || got[1].At.Round(time.Microsecond) != 100*time.Millisecond {
			t.Errorf("%s: %v, %v", ts, got, err)
		}
	}
	for text, want := range map[string]string{
		"":                         "no requests",
		`{"msg":"x"}`:              "no requests",
		"127.0.0.1 - - [common]\n": "line 1 is not the JSON",
		`{"ts":"noon","request":{"uri":"/"},"duration":0}`: "unknown format",
		`{"ts":1,"request":{"uri":"/"},"duration":"long"}`: "invalid duration",
		`{"request":{"uri":"/"},"duration":0}`:             "no time",
	} {
		if _, err := ReadAccessLog(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: the error is %v, want %q", text, err, want)
		}
	}
}
