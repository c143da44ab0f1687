// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package httpx

import (
	"context"
	"net/http/httptrace"
)

// TraceContext is a context with a trace in place of that of its parent.
// [httptrace.WithClientTrace] would call the hooks of both, and takes reflection and an allocation.
type TraceContext struct {
	context.Context
	// Trace is the trace; nil for that of the parent. It has no effect if the parent has none.
	Trace *httptrace.ClientTrace
}

// Value implements [context.Context].
func (c *TraceContext) Value(key any) any {
	v := c.Context.Value(key)
	if _, ok := v.(*httptrace.ClientTrace); ok && c.Trace != nil {
		return c.Trace
	}
	return v
}
