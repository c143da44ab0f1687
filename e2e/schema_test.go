// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// TestSchema tests that the schema that `caddy ballast schema` prints is valid, that it accepts the
// configurations of all examples and goldens, each with the Caddy that has its modules, and that it
// refuses a field that is misspelled, a word that is not allowed and a number out of bounds.
func TestSchema(t *testing.T) {
	check := schemaOf(t, caddyBinary)
	valid, misspelled := 0, 0
	accept := func(check func(string) error, name, config string) {
		if err := check(config); err != nil {
			t.Errorf("%s is refused: %v", name, err)
		}
		valid++
		if other := strings.Replace(config, `"source": "pool"`, `"source": "pool", "nonesuch": 1`, 1); other != config {
			misspelled++
			if check(other) == nil {
				t.Errorf("%s with a field that a pool does not have is accepted", name)
			}
		}
	}
	goldens, err := filepath.Glob(filepath.Join(repository, "testdata", "adapt", "*.caddyfiletest"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range goldens {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, config, ok := strings.Cut(string(text), "\n----------\n"); ok && strings.HasPrefix(strings.TrimSpace(config), "{") {
			accept(check, filepath.Base(name), config)
		}
	}
	if valid < 50 || misspelled < 20 {
		t.Errorf("found only %d goldens, and %d with pools", valid, misspelled)
	}

	checks := map[string]func(string) error{caddyBinary: check}
	examples := 0
	err = filepath.WalkDir(filepath.Join(repository, "examples"), func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.Name() != "Caddyfile" {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		binary := caddyBinary
		switch {
		case strings.Contains(string(text), "store redis"):
			binary = redisCaddy(t)
		case strings.Contains(string(text), "layer4"):
			binary = tcpCaddy(t)
		}
		if checks[binary] == nil {
			checks[binary] = schemaOf(t, binary)
		}
		examples++
		config, err := exec.Command(binary, "adapt", "--config", name, "--adapter", "caddyfile").Output()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return nil
		}
		accept(checks[binary], name, string(config))
		return nil
	})
	if err != nil || examples < 10 {
		t.Errorf("checked %d examples: %v", examples, err)
	}

	for _, wrong := range []string{
		`{"pools": {"web": {"backends": [{"dial": "10.0.0.1:80", "wieght": 5}]}}}`,
		`{"pools": {"web": {"on_down": "stop"}}}`,
		`{"pools": {"web": {"panic": 34}}}`,
		`{"pools": {"web": {"subset": -1}}}`,
		`{"pools": {"web": {"refresh": true}}}`,
		`{"pools": {"web": {"health": [{"check": "nonesuch"}]}}}`,
		`{"pools": {"web": {"health": [{"uri": "/health"}]}}}`,
		`{"pools": {"web": {"health": [{"check": "http", "send": "ping"}]}}}`,
		`{"pools": {"web": {"sources": [{"source": "docker", "namespace": "x"}]}}}`,
		`{"metrics": "few"}`,
	} {
		if check(`{"apps": {"ballast": `+wrong+`}}`) == nil {
			t.Errorf("%s is accepted", wrong)
		}
	}
}

// schemaOf returns a function that checks configurations against the schema that a Caddy prints.
func schemaOf(t *testing.T, binary string) (check func(config string) error) {
	t.Helper()
	printed, err := exec.Command(binary, "ballast", "schema").Output()
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(printed))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("caddy.schema.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("caddy.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return func(config string) error {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(config))
		if err != nil {
			return err
		}
		return schema.Validate(v)
	}
}
