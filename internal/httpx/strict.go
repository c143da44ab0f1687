// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package httpx

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
)

// Errors that callers distinguish from malformed input.
var (
	// ErrUnknownField means that the input has an unknown field.
	ErrUnknownField = errors.New("unknown field")
	// ErrTooLong means that a body is too long.
	ErrTooLong = errors.New("the body is too large")
)

// DecodeStatus returns the HTTP status for an error: 413 for [ErrTooLong], else 400.
func DecodeStatus(err error) int {
	if errors.Is(err, ErrTooLong) {
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusBadRequest
}

// DecodeRequest decodes the body of a request, of at most most bytes, into v, a pointer to a
// struct. A content type other than JSON is an error, so that no form is taken for JSON.
func DecodeRequest(r *http.Request, most int64, v any) error {
	if text := r.Header.Get("Content-Type"); text != "" {
		kind, _, err := mime.ParseMediaType(text)
		if err != nil || kind != "application/json" && !strings.HasSuffix(kind, "+json") {
			return fmt.Errorf("the content type is %q; send application/json", text)
		}
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, most+1))
	switch {
	case err != nil:
		return fmt.Errorf("the body cannot be read: %w", err)
	case int64(len(data)) > most:
		return fmt.Errorf("%w: the limit is %d bytes", ErrTooLong, most)
	}
	return DecodeJSON(data, v)
}

// DecodeJSON decodes one JSON object into v, a pointer to a struct. Names are case-sensitive.
func DecodeJSON(data []byte, v any) error {
	if !utf8.Valid(data) {
		return errors.New("the body is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	names, err := walkJSON(d, "")
	switch {
	case errors.Is(err, io.EOF) && len(bytes.TrimSpace(data)) == 0:
		return errors.New("the body is empty; send a JSON object")
	case errors.Is(err, io.EOF):
		return errors.New("the body is truncated")
	case err != nil:
		return err
	case names == nil:
		return errors.New("the body must be a JSON object")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("unexpected data after the JSON object")
	}
	known := jsonFields(reflect.TypeOf(v).Elem())
	for _, name := range names {
		if !slices.Contains(known, name) {
			return unknownField(name, known)
		}
	}
	return typeError(json.Unmarshal(data, v))
}

func unknownField(name string, known []string) error {
	if len(known) == 0 {
		return fmt.Errorf("%w %q; there are none here", ErrUnknownField, name)
	}
	return fmt.Errorf("%w %q; known are: %s", ErrUnknownField, name, strings.Join(known, ", "))
}

// CheckQuery returns an error for a query of a URL with a field that is not known, or with one that is
// given twice. The names of those that may be repeated end in "...".
func CheckQuery(query url.Values, known ...string) error {
	names := make([]string, len(known))
	for i, name := range known {
		names[i] = strings.TrimSuffix(name, "...")
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		switch {
		case !slices.Contains(names, name):
			return unknownField(name, names)
		case len(query[name]) > 1 && slices.Contains(known, name):
			return fmt.Errorf("%s is given twice; write it once", name)
		}
	}
	return nil
}

// jsonFields returns the JSON names of a struct's fields, those of embedded structs among them.
func jsonFields(t reflect.Type) (names []string) {
	for _, field := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name != "" && name != "-" {
			names = append(names, name)
		}
	}
	return names
}

// maxDepth limits how deeply values may be nested.
const maxDepth = 20

// walkJSON reads one value and returns the names of its fields, non-nil, if it is an object. A
// repeated name is an error, because parsers disagree on which value counts.
func walkJSON(d *json.Decoder, path string) (names []string, err error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	delim, ok := token.(json.Delim)
	if !ok {
		return nil, nil
	}
	if strings.Count(path, "\x00") >= maxDepth {
		return nil, errors.New("the JSON is nested too deeply")
	}
	if delim == '{' {
		names = []string{}
	}
	seen := make(map[string]bool)
	for d.More() {
		if delim == '{' {
			token, err := d.Token()
			if err != nil {
				return nil, err
			}
			name, _ := token.(string)
			if seen[name] {
				return nil, fmt.Errorf("%q is given twice; write it once", name)
			}
			seen[name] = true
			names = append(names, name)
		}
		if _, err := walkJSON(d, path+"\x00"); err != nil {
			return nil, err
		}
	}
	_, err = d.Token() // the closing delimiter
	return names, err
}
