// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package strict decodes JSON that comes from outside. What is unknown, repeated,
// extra or too long is an error; nothing is ignored in silence.
package strict

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
)

// Errors that callers tell from what is merely malformed.
var (
	// ErrUnknownField says that there is a field that is not known.
	ErrUnknownField = errors.New("unknown field")
	// ErrTooLong says that a body is too long.
	ErrTooLong = errors.New("the body is too long")
)

// DecodeStatus returns the status of the answer to a request with such an error.
func DecodeStatus(err error) int {
	if errors.Is(err, ErrTooLong) {
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusBadRequest
}

// DecodeRequest decodes the body of a request, of at most most bytes, into v, a pointer to
// a struct. A content type other than JSON is an error, lest a form be taken for it.
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
		return fmt.Errorf("%w: it may have %d bytes", ErrTooLong, most)
	}
	return DecodeJSON(data, v)
}

// DecodeJSON decodes one JSON object into v, a pointer to a struct. Names count as they
// are written.
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
		return errors.New("the body ends in the middle")
	case err != nil:
		return err
	case names == nil:
		return errors.New("the body must be a JSON object")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something behind the JSON object")
	}
	known := jsonFields(reflect.TypeOf(v).Elem())
	for _, name := range names {
		if !slices.Contains(known, name) {
			return fmt.Errorf("%w %q; known are: %s", ErrUnknownField, name, strings.Join(known, ", "))
		}
	}
	return typeError(json.Unmarshal(data, v))
}

// jsonFields returns the names of a struct's fields.
func jsonFields(t reflect.Type) (names []string) {
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name != "" && name != "-" {
			names = append(names, name)
		}
	}
	return names
}

// maxDepth bounds how deep values may lie in each other.
const maxDepth = 20

// walkJSON reads one value and returns the names of its fields if it is an object, not
// nil. A name that is there twice is an error: two readers might believe different
// ones.
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
		return nil, errors.New("values lie too deep in each other")
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
				return nil, fmt.Errorf("%q is there twice; write it once", name)
			}
			seen[name] = true
			names = append(names, name)
		}
		if _, err := walkJSON(d, path+"\x00"); err != nil {
			return nil, err
		}
	}
	_, err = d.Token() // the closing one
	return names, err
}
