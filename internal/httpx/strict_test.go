// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package httpx

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
)

type thing struct {
	Name   string            `json:"name,omitempty"`
	Number *int              `json:"number,omitempty"`
	Meta   map[string]string `json:"meta,omitempty"`
}

func TestDecode(t *testing.T) {
	for input, want := range map[string]string{
		`{}`:                          "",
		` {"name":"a","number":1} `:   "",
		`{"meta":{"a":"b","A":"b"}}`:  "",
		`{"number":null}`:             "",
		``:                            "empty",
		`  `:                          "empty",
		`{`:                           "truncated",
		`{"name":`:                    "truncated",
		`null`:                        "must be a JSON object",
		`[]`:                          "must be a JSON object",
		`"name"`:                      "must be a JSON object",
		`{} {}`:                       "after the JSON object",
		`{}x`:                         "after the JSON object",
		`{"nome":"a"}`:                `unknown field "nome"`,
		`{"Name":"a"}`:                `unknown field "Name"`,
		`{"name":"a","name":"a"}`:     "twice",
		`{"name":"a","na\u006de":""}`: "twice",
		`{"meta":{"a":"","a":""}}`:    "twice",
		`{"name":1}`:                  "name must be a string, got number",
		`{"number":1.5}`:              "number must be a whole number, got number 1.5",
		`{"number":"1"}`:              "number must be a whole number, got string",
		`{"meta":{"a":1}}`:            "must be a string",
		`{"name":"` + "\xff" + `"}`:   "UTF-8",
		`{"name":'a'}`:                "invalid character",
		`{"meta":` + strings.Repeat("[", 30) + strings.Repeat("]", 30) + `}`: "too deep",
	} {
		err := DecodeJSON([]byte(input), new(thing))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", input, err, want)
		}
	}
}

func TestRequest(t *testing.T) {
	for _, tt := range []struct {
		kind, body string
		status     int
	}{
		{"application/json", `{}`, 0},
		{"application/json; charset=utf-8", `{}`, 0},
		{"application/merge-patch+json", `{}`, 0},
		{"", `{}`, 0},
		{"text/plain", `{}`, http.StatusBadRequest},
		{"application/x-www-form-urlencoded", `{}`, http.StatusBadRequest},
		{"a/b/c", `{}`, http.StatusBadRequest},
		{"application/json", `{"x":1}`, http.StatusBadRequest},
		{"application/json", `{"name":"` + strings.Repeat("x", 89) + `"}`, 0},
		{"application/json", `{"name":"` + strings.Repeat("x", 90) + `"}`, http.StatusRequestEntityTooLarge},
	} {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(tt.body))
		r.Header.Set("Content-Type", tt.kind)
		status := 0
		if err := DecodeRequest(r, 100, new(thing)); err != nil {
			status = DecodeStatus(err)
		}
		if status != tt.status {
			t.Errorf("%q %s: status %d, want %d", tt.kind, tt.body, status, tt.status)
		}
	}
}

// What is accepted is what encoding/json makes of it, and says the same when it is
// written again.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{`{"name":"a","number":1,"meta":{"a":"b"}}`, `{}`, `{"name":"a","name":"b"}`, `{"x":[{}]}`, `{"number":1e3}`, "{\"name\":\"\xff\"}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		a, b, c := new(thing), new(thing), new(thing)
		if DecodeJSON(data, a) != nil {
			return
		}
		if err := json.Unmarshal(data, b); err != nil || !reflect.DeepEqual(a, b) {
			t.Fatalf("%s: %+v, and encoding/json has %+v, %v", data, a, b, err)
		}
		again, _ := json.Marshal(a)
		if err := DecodeJSON(again, c); err != nil {
			t.Fatalf("%s, from %s: %v", again, data, err)
		}
	})
}

func TestCheckQuery(t *testing.T) {
	for query, want := range map[string]string{
		"":                       "",
		"after=1&backend=a":      "",
		"backend=a&backend=b":    "",
		"after=1&after=1":        "after is given twice; write it once",
		"aftr=1":                 `unknown field "aftr"; known are: after, backend`,
		"after=1&after=2&zone=a": "after is given twice; write it once",
		"backend...=a":           `unknown field "backend..."; known are: after, backend`,
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := CheckQuery(values, "after", "backend..."); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", query, got, want)
		}
	}
}
