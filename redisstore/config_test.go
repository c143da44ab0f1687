// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/fleet"
	"github.com/ballast-lb/caddy-ballast/internal/conformance"
)

// parse returns the store of Caddyfile tokens.
func parse(tokens string) (*Store, error) {
	s := new(Store)
	return s, s.UnmarshalCaddyfile(caddyfile.NewTestDispenser(tokens))
}

// load returns the store of Caddyfile tokens, provisioned.
func load(t testing.TB, tokens string) *Store {
	t.Helper()
	s, err := parse(tokens)
	if err == nil {
		err = s.Provision(caddy.Context{Context: context.Background()})
	}
	if err != nil {
		t.Fatalf("%s: %v", tokens, err)
	}
	return s
}

// open returns a connection of a store, which is closed at the end of the test.
func open(t testing.TB, tokens string) *conn {
	t.Helper()
	c, err := load(t, tokens).Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c.(*conn)
}

const everything = `redis {
	address 10.0.0.1:6379 10.0.0.2:6379 unix//run/redis.sock
	username ballast
	password {env.BALLAST_TEST_PASSWORD}
	db 3
	prefix edge
	timeout 80ms
	max_records 5000
	tls {
		server_name redis.internal
		insecure_skip_verify
	}
}`

func TestModuleFollowsTheRules(t *testing.T) {
	t.Setenv("BALLAST_TEST_PASSWORD", "secret")
	conformance.Module{Namespace: "ballast.fleet", Caddyfile: everything}.Run(t)
}

func TestCaddyfileGivesAllOptions(t *testing.T) {
	t.Setenv("BALLAST_TEST_PASSWORD", "secret")
	got, err := parse(everything)
	if err != nil {
		t.Fatal(err)
	}
	want := &Store{Server: Server{
		Address:  []string{"10.0.0.1:6379", "10.0.0.2:6379", "unix//run/redis.sock"},
		Username: "ballast", Password: "{env.BALLAST_TEST_PASSWORD}", DB: 3, Prefix: "edge", Timeout: caddy.Duration(80 * time.Millisecond),
		TLS: &TLS{ServerName: "redis.internal", InsecureSkipVerify: true},
	}, MaxRecords: 5000}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for tokens, text := range map[string]string{
		"redis":                  `{}`,
		"redis db.internal:7000": `{"address":["db.internal:7000"]}`,
		"redis {\n sentinel main a:1 b:2\n sentinel_password x\n password_file /run/secret\n}": `{"sentinel":{"name":"main","addresses":["a:1","b:2"],"password":"x"},"password_file":"/run/secret"}`,
		"redis {\n sentinel_username u\n sentinel_password x\n sentinel main a:1\n}":           `{"sentinel":{"name":"main","addresses":["a:1"],"username":"u","password":"x"}}`,
		"redis {\n cluster a:1 b:2\n tls {\n ca /ca\n certificate /c /k\n }\n}":                `{"cluster":["a:1","b:2"],"tls":{"ca":"/ca","certificate":"/c","key":"/k"}}`,
		"redis {\n tls\n}": `{"tls":{}}`,
	} {
		s, err := parse(tokens)
		if err != nil {
			t.Errorf("%s: %v", tokens, err)
			continue
		}
		if raw, _ := json.Marshal(s); string(raw) != text {
			t.Errorf("%s gives %s, want %s", tokens, raw, text)
		}
	}
}

// Defaults are set when the store is provisioned, and placeholders replaced; the configuration
// keeps its placeholders.
func TestProvision(t *testing.T) {
	t.Setenv("BALLAST_TEST_PASSWORD", "secret")
	t.Setenv("BALLAST_TEST_HOST", "db.internal:7000")
	s := load(t, "redis {\n address {env.BALLAST_TEST_HOST}\n password {env.BALLAST_TEST_PASSWORD}\n}")
	if s.Prefix != "ballast" || time.Duration(s.Timeout) != 50*time.Millisecond || s.MaxRecords != 1_000_000 || s.Password != "{env.BALLAST_TEST_PASSWORD}" {
		t.Errorf("the configuration is %+v", s)
	}
	if s.resolved.Password != "secret" || s.resolved.Address[0] != "db.internal:7000" {
		t.Errorf("placeholders give %+v", s.resolved)
	}
	if s := load(t, "redis"); !reflect.DeepEqual(s.Address, []string{"localhost:6379"}) {
		t.Errorf("the default is %q", s.Address)
	}
}

// Whatever is wrong is said with file and line, and with what to write instead.
func TestCaddyfileErrors(t *testing.T) {
	for tokens, want := range map[string]string{
		"redis a:1 b:2":                              "unexpected argument \"b:2\"",
		"redis localhost":                            "address must be host:port such as 10.0.0.1:6379, or unix//path, got \"localhost\"",
		"redis :6379":                                "address must be host:port",
		"redis a:0":                                  "address must be host:port",
		"redis redis://a:6379":                       "address must be host:port",
		"redis unix/":                                "address must be host:port",
		"redis a:1 {\n address b:2\n}":               "the address is given twice",
		"redis a:1 {\n cluster b:2\n}":               "address, sentinel and cluster exclude each other",
		"redis a:1 {\n sentinel main b:2\n}":         "address, sentinel and cluster exclude each other",
		"redis {\n sentinel main\n}":                 "sentinel: addresses are missing; write sentinel <name> <host:port...>",
		"redis {\n sentinel main b\n}":               "sentinel must be host:port such as 10.0.0.1:6379, got \"b\"",
		"redis {\n sentinel\n}":                      "an argument is missing",
		"redis {\n sentinel_password x\n}":           "the name of the master is missing",
		"redis {\n cluster a:1\n db 1\n}":            "a cluster has only database 0",
		"redis {\n password x\n password_file /y\n}": "password and password_file exclude each other",
		"redis {\n username x\n}":                    "username needs a password",
		"redis {\n db 65536\n}":                      "db must be a whole number from 0 to 65535",
		"redis {\n prefix {a}b\n}":                   "",
		"redis {\n prefix \"a b\"\n}":                "prefix must be at most 100 bytes without spaces and braces",
		"redis {\n prefix a}\n}":                     "prefix must be at most 100 bytes",
		"redis {\n timeout 1ms\n}":                   "timeout must be a duration from 10ms to 10s",
		"redis {\n max_records 10\n}":                "max_records must be a whole number from 1000 to 100000000",
		"redis {\n tls on\n}":                        "unexpected argument \"on\"",
		"redis {\n tls {\n certificate /c\n }\n}":    "certificate needs two files; write certificate <file> <key>",
		"redis {\n url redis://a\n}":                 "write `address <host:port>`",
		"redis {\n nope\n}":                          "unrecognized option \"nope\"; write one of: address, cluster, db, max_records, password, password_file, prefix, sentinel, sentinel_password, sentinel_username, timeout, tls, username",
	} {
		_, err := parse(tokens)
		switch {
		case want == "" && err != nil:
			t.Errorf("%q: %v", tokens, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Testfile:")):
			t.Errorf("%q: got %v, want %q with file and line", tokens, err, want)
		}
	}
}

func TestProvisionErrors(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		`{"address":["a"]}`:                            "address must be host:port",
		`{"address":["{env.BALLAST_TEST_NOTHING}"]}`:   "address",
		`{"password":"{env.BALLAST_TEST_NOTHING}"}`:    "password: ",
		`{"prefix":"a{b"}`:                             "prefix must be",
		`{"max_records":-1}`:                           "max_records must be",
		`{"db":-1}`:                                    "db must be",
		`{"timeout":5}`:                                "write a string with a unit",
		`{"sentinel":{"name":"","addresses":["a:1"]}}`: "the name of the master is missing",
		`{"sentinel":{"name":"m","addresses":["a:1"],"username":"u"}}`: "sentinel_username needs sentinel_password",
		`{"password_file":"/nowhere"}`:                                 "password_file: open /nowhere",
		`{"password_file":"` + empty + `"}`:                            "is empty",
		`{"tls":{"ca":"/nowhere"}}`:                                    "tls: ca: open /nowhere",
		`{"tls":{"ca":"` + empty + `"}}`:                               "has no certificate in PEM form",
		`{"tls":{"key":"/k"}}`:                                         "certificate and key belong together",
		`{"tls":{"certificate":"/c","key":"/k"}}`:                      "tls: certificate: open /c",
	} {
		s := new(Store)
		err := caddy.StrictUnmarshalJSON([]byte(text), s)
		if err == nil {
			err = s.Provision(caddy.Context{Context: context.Background()})
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

func TestRecordsSurviveTheEncoding(t *testing.T) {
	for _, r := range []fleet.Record{
		{Topic: "pools/web", Key: "m|10.0.0.1:80", Version: 1<<64 - 1, Value: []byte("x"), TTL: time.Hour},
		{Topic: "", Key: "", Version: 0, Value: []byte{}, TTL: time.Millisecond},
		{Topic: "1:2", Key: ":3", Version: 1 << 63, Value: []byte{0, 255, '\n'}, TTL: maxTTL},
		{Topic: "sessions/a", Key: string([]byte{0, 1, 2, 255}), Version: 7, Value: []byte("0000000000000"), TTL: 1500 * time.Millisecond},
	} {
		digits := encodeTTL(r.TTL)
		value := strings.Repeat("0", timeDigits-len(digits)) + digits + encodeVersion(r.Version) + string(r.Value)
		got, ok := decodeRecord(encodeField(r.Topic, r.Key), value)
		if !ok || !reflect.DeepEqual(got, r) {
			t.Errorf("got %+v (%v), want %+v", got, ok, r)
		}
	}
	for _, field := range []string{"", "!", "x:y", "-1:y", "5:four", "9"} {
		if _, _, ok := decodeField(field); ok {
			t.Errorf("the field %q has a topic", field)
		}
	}
	for ttl, want := range map[time.Duration]string{1: "1", time.Millisecond: "1", time.Millisecond + 1: "2", -1: "1", 1 << 62: "630720000000"} {
		if got := encodeTTL(ttl); got != want {
			t.Errorf("%v is %s ms, want %s", ttl, got, want)
		}
	}
}

func TestCursors(t *testing.T) {
	p := position{"1700000000000-3", 42}
	if got, ok := positionOf(p.cursor()); !ok || got != p {
		t.Errorf("got %+v, want %+v", got, p)
	}
	for _, c := range []fleet.Cursor{"", "1-1", " 3", "1-1 x"} {
		if _, ok := positionOf(c); ok {
			t.Errorf("the cursor %q has a position", c)
		}
	}
}

// Arbitrary replies of a server neither panic nor give records that cannot be encoded again.
func FuzzDecodeRecord(f *testing.F) {
	f.Add("9:pools/web|a", "00000000010000000000000000010value")
	f.Add("!", "")
	f.Fuzz(func(t *testing.T, field, value string) {
		r, ok := decodeRecord(field, value)
		if !ok {
			return
		}
		if topic, key, ok := decodeField(encodeField(r.Topic, r.Key)); !ok || topic != r.Topic || key != r.Key || r.TTL <= 0 {
			t.Errorf("%q: %+v", field, r)
		}
	})
}
