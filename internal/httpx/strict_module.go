// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package httpx

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

// DecodeModule decodes the configuration of a module into v, a pointer to a struct. Unknown
// fields are errors, as in Caddy. An error about a wrong type names the field as in the
// configuration, not as in Go.
func DecodeModule(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return typeError(d.Decode(v))
}

// DecodeGuest returns an error for values of the wrong type in the configuration of a guest
// module. It is called in addition to the module's own decoding, since foreign types that embed a
// module need not use [DecodeModule].
func DecodeGuest(raw json.RawMessage, namespace, inlineKey string) error {
	var fields map[string]json.RawMessage
	var name string
	if json.Unmarshal(raw, &fields) != nil || json.Unmarshal(fields[inlineKey], &name) != nil {
		return nil // Caddy reports this
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

// wrongJSONType is an error made by typeError.
type wrongJSONType struct{ error }

// typeError rewrites an error about a wrong type in terms of JSON.
func typeError(err error) error {
	var typeErr *json.UnmarshalTypeError
	if !errors.As(err, &typeErr) {
		return err
	}
	var path []string
	for name := range strings.SplitSeq(typeErr.Field, ".") {
		if name != "" && !unicode.IsUpper(rune(name[0])) { // an embedded struct has no name in JSON
			path = append(path, name)
		}
	}
	name := strings.Join(path, ".")
	if name == "" {
		name = "the configuration"
	}
	return wrongJSONType{fmt.Errorf("%s must be %s, got %s", name, jsonKindOf(typeErr.Type), typeErr.Value)}
}

// jsonKindOf describes a type in terms of JSON.
func jsonKindOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Int, reflect.Int64:
		if strings.HasSuffix(t.Name(), "Duration") {
			return `a string such as "2s"`
		}
		return "a whole number"
	case reflect.Float64:
		return "a number"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Map, reflect.Struct, reflect.Pointer:
		return "an object"
	}
	return "a " + t.String()
}
