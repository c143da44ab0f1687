// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package clip bounds the texts that backends write, before they are kept, logged or
// shown.
package clip

import "strings"

const (
	// MaxBytes bounds what is kept of a text that a backend may have written, in
	// bytes with the mark of what was cut.
	MaxBytes = 256
	ellipsis = "…"
)

// Text returns a text of a backend as it is kept, logged and shown: valid UTF-8 of
// at most [MaxBytes] bytes, with an ellipsis at its end if there was more.
func Text(text string) string { return clipTo(text, MaxBytes) }

func clipTo(text string, most int) string {
	more := len(text) > most
	if more {
		text = text[:most] // so that the rest is not even looked at
	}
	text = strings.ToValidUTF8(text, "?")
	if !more && len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:min(len(text), most-len(ellipsis))], "") + ellipsis
}

// Error returns an error whose text is clipped, and which is the same to
// [errors.Is] and [errors.As].
func Error(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	if clipped := Text(text); clipped != text {
		return &clippedError{clipped, err}
	}
	return err
}

// clippedError is an error of which a part is told.
type clippedError struct {
	text string
	err  error
}

func (e *clippedError) Error() string { return e.text }
func (e *clippedError) Unwrap() error { return e.err }
