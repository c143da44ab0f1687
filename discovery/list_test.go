// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"strings"
	"testing"
)

func TestParseList(t *testing.T) {
	for name, tt := range map[string]struct{ list, want, err string }{
		"groups": {
			`[{"targets": ["10.0.0.1:80", "10.0.0.2:80"], "labels": {"zone": "a", "weight": "3", "__meta_rack": "r1"}}, {"targets": ["[::1]:80"]}]`,
			"10.0.0.1:80 weight=3 zone=a __meta_rack=r1; 10.0.0.2:80 weight=3 zone=a __meta_rack=r1; [::1]:80", "",
		},
		"addresses and objects": {
			`["10.0.0.1:80", {"address": "10.0.0.2:80", "id": "b", "instance": "7", "weight": 2, "tier": 1, "state": "draining", "meta": {"k": "v"}}]`,
			"10.0.0.1:80; 10.0.0.2:80 id=b instance=7 weight=2 tier=1 draining k=v", "",
		},
		"lines":             {"# all\n10.0.0.1:80\n\n10.0.0.2:80 weight=0 zone=b rack=r1 # the second\r\n", "10.0.0.1:80; 10.0.0.2:80 weight=0 zone=b rack=r1", ""},
		"none":              {"[]", "", ""},
		"an empty file":     {" \n", "", ""},
		"a byte order mark": {"\xef\xbb\xbf[\"10.0.0.1:80\"]", "10.0.0.1:80", ""},
		"a truncated list":  {`["10.0.0.1:80", `, "", "the list is not an array"},
		"an object":         {`{"targets": []}`, "", "the list is not an array"},
		"no address":        {`[{"weight": 1}]`, "", "element 0: the address is missing"},
		"a wrong weight":    {`[{"targets": ["a:1"], "labels": {"weight": "many"}}]`, "", "weight must be"},
		"a wrong state":     {"a:1 state=up", "", "line 1: state must be ready or draining"},
		"a word":            {"\na:1 draining", "", "line 2: an option must be name=value"},
		"targets no array":  {`[{"targets": "a:1"}]`, "", "targets"},
		"labels no object":  {`[{"targets": [], "labels": []}]`, "", "labels"},
		"a number":          {"[1]", "", "the list is not an array"},
		"null":              {"[null]", "", "null is no backend"},
	} {
		all, err := ParseList([]byte(tt.list))
		u := Update{Endpoints: all}
		if e := u.Prepare(); e != nil {
			t.Fatal(e)
		}
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: %v, want %q", name, err, tt.err)
			}
		} else if got := describe(u.Endpoints); err != nil || got != tt.want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, tt.want)
		}
	}
	if _, err := ParseList([]byte(strings.Repeat("a:1\n", maxEndpoints+1))); err == nil {
		t.Error("a list of any length is accepted")
	}
}

// Whatever a registry sends, the parser ends, and what it accepts can be prepared.
func FuzzParseList(f *testing.F) {
	f.Add([]byte(`[{"targets":["a:1"],"labels":{"weight":"2"}},"b:1",{"address":"c:1","meta":{"k":"v"}}]`))
	f.Add([]byte("a:1 weight=2 # x\nb:1"))
	f.Add([]byte("[null, {}, 7]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := ParseList(data)
		if err != nil {
			return
		}
		u := Update{Endpoints: all}
		if err := u.Prepare(); err != nil {
			t.Fatal(err)
		}
		ids := make(map[string]bool)
		for _, e := range u.Endpoints {
			if e.Address == "" || ids[e.Address] {
				t.Fatalf("%+v", e)
			}
			ids[e.Address] = true
		}
	})
}
