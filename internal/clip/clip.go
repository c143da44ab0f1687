// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package clip limits the length of texts from backends before they are stored, logged or shown.
package clip

import "strings"

const (
	// MaxBytes limits a text from a backend, in bytes, including the ellipsis.
	MaxBytes = 256
	ellipsis = "…"
)

// Text returns text as valid UTF-8 of at most [MaxBytes] bytes, with an ellipsis at its end if it
// was cut.
func Text(text string) string { return To(text, MaxBytes) }

// To is as [Text], with at most most bytes, which must be at least 3.
func To(text string, most int) string {
	more := len(text) > most
	if more {
		text = text[:most] // so that the rest is not scanned
	}
	text = strings.ToValidUTF8(text, "?")
	if !more && len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:min(len(text), most-len(ellipsis))], "") + ellipsis
}

// Error returns an error whose text is clipped. It is the same to [errors.Is] and [errors.As].
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

// clippedError is an error with a clipped text.
type clippedError struct {
	text string
	err  error
}

func (e *clippedError) Error() string { return e.text }
func (e *clippedError) Unwrap() error { return e.err }
