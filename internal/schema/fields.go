// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package schema

import (
	_ "embed"
	"encoding/json"
	"maps"
	"reflect"
	"strings"
	"sync"
)

// Module is the path of the plugin's Go module. Types of modules inside it count as its own.
const Module = "github.com/ballast-lb/caddy-ballast"

// Field describes a field of the configuration, or a type with the name of the field left out.
type Field struct {
	// Of is the package, the type and the field, such as pool.Config.Refresh.
	Of string `json:"of"`
	// Doc is the comment without the default, in one line.
	Doc string `json:"doc,omitempty"`
	// Default is the value of an absent field, as text; empty for the zero value.
	Default string `json:"default,omitempty"`
	// Since is the version that brought the field.
	Since string `json:"since,omitempty"`
	// Options are the options of a Caddyfile that set the field, with their arguments.
	Options []string `json:"options,omitempty"`
	// Example is a line of a Caddyfile that sets the field.
	Example string `json:"example,omitempty"`
	// Rule is what a value must be, as errors state it; empty for any value of the type.
	Rule string `json:"rule,omitempty"`
	// Enum lists the words that are allowed; nil for any.
	Enum []string `json:"enum,omitempty"`
	// Min is the least number, in the unit of JSON; nil for no bound.
	Min *float64 `json:"min,omitempty"`
	// Max is the greatest number, likewise.
	Max *float64 `json:"max,omitempty"`
}

//go:embed fields.jsonl
var embedded string

var fields = sync.OnceValue(func() map[string]Field {
	all := make(map[string]Field)
	for line := range strings.Lines(embedded) {
		var f Field
		if json.Unmarshal([]byte(line), &f) == nil {
			all[f.Of] = f
		}
	}
	return all
})

// Fields returns the descriptions of all fields and types, by their name.
func Fields() map[string]Field { return maps.Clone(fields()) }

// name returns the name of a type in [Field.Of]; ok is false for a type that is not Ballast's.
func name(t reflect.Type) (of string, ok bool) {
	dir, ok := strings.CutPrefix(t.PkgPath(), Module+"/")
	return dir + "." + t.Name(), ok && t.Name() != ""
}
