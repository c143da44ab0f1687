// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package strict

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unicode"

	"github.com/caddyserver/caddy/v2"
)

// DecodeModule decodes the configuration of a module into v, a pointer to a struct, as Caddy
// does: unknown fields are errors. A value of the wrong type is said by the names that
// the configuration has, and not by those of Go.
func DecodeModule(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return typeError(d.Decode(v))
}

// DecodeGuest returns what is wrong with the types of values in the configuration of a guest
// module, which need not use [DecodeModule]: types of others may embed it.
func DecodeGuest(raw json.RawMessage, namespace, inlineKey string) error {
	var fields map[string]json.RawMessage
	var name string
	if json.Unmarshal(raw, &fields) != nil || json.Unmarshal(fields[inlineKey], &name) != nil {
		return nil // Caddy says so
	}
	info, err := caddy.GetModule(namespace + "." + name)
	if err != nil {
		return nil
	}
	delete(fields, inlineKey)
	if raw, err = json.Marshal(fields); err != nil {
		return err
	}
	if err := DecodeModule(raw, info.New()); errors.As(err, new(wrongJSONType)) {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// wrongJSONType is what typeError makes.
type wrongJSONType struct{ error }

// typeError says in terms of JSON that a value has the wrong type.
func typeError(err error) error {
	var of *json.UnmarshalTypeError
	if !errors.As(err, &of) {
		return err
	}
	var path []string
	for name := range strings.SplitSeq(of.Field, ".") {
		if name != "" && !unicode.IsUpper(rune(name[0])) { // an embedded struct has no name in JSON
			path = append(path, name)
		}
	}
	name := strings.Join(path, ".")
	if name == "" {
		name = "the configuration"
	}
	return wrongJSONType{fmt.Errorf("%s must be %s, got %s", name, jsonKindOf(of.Type), of.Value)}
}

// jsonKindOf says what a type is in JSON.
func jsonKindOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a text"
	case reflect.Int, reflect.Int64:
		if strings.HasSuffix(t.Name(), "Duration") {
			return `a text such as "2s"`
		}
		return "a whole number"
	case reflect.Float64:
		return "a number"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Map, reflect.Struct, reflect.Pointer:
		return "an object"
	}
	return "a " + t.String()
}
