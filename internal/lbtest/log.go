// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package lbtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
)

func init() { caddy.RegisterModule(new(logWriter)) }

// logWriter stores the log of a configuration for the test.
type logWriter struct {
	ID string `json:"id,omitempty"`
}

func (*logWriter) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.logging.writers.lbtest", New: func() caddy.Module { return new(logWriter) }}
}

func (w *logWriter) String() string                      { return "lbtest " + w.ID }
func (w *logWriter) WriterKey() string                   { return w.String() }
func (w *logWriter) OpenWriter() (io.WriteCloser, error) { return logOf(w.ID), nil }

// log is the output under one ID. Safe for concurrent use.
type log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *log) Close() error { return nil }

var logs sync.Map // by ID

func logOf(id string) *log {
	l, _ := logs.LoadOrStore(id, new(log))
	return l.(*log)
}

// logging returns a configuration that logs to the given ID, from level INFO.
func logging(id string) *caddy.Logging {
	return &caddy.Logging{Logs: map[string]*caddy.CustomLog{"default": {BaseLog: caddy.BaseLog{
		Level:     "INFO",
		WriterRaw: json.RawMessage(fmt.Sprintf(`{"output":"lbtest","id":%q}`, id)),
	}}}}
}

// Logged returns the messages of the configuration's Ballast modules so far, each with the values
// of the given fields.
func (c *Config) Logged(fields ...string) (messages []string) {
	l := logOf(c.logID)
	l.mu.Lock()
	lines := slices.Collect(strings.Lines(l.buf.String()))
	l.mu.Unlock()
	for _, line := range lines {
		var entry map[string]any
		if json.Unmarshal([]byte(line), &entry) != nil || !ours(fmt.Sprint(entry["logger"])) {
			continue
		}
		message := fmt.Sprint(entry["msg"])
		for _, f := range fields {
			message += fmt.Sprint(" ", entry[f])
		}
		messages = append(messages, message)
	}
	return messages
}

// ours reports whether a logger belongs to a module of Ballast.
func ours(logger string) bool {
	return strings.Contains(logger, "ballast") || logger == "http.handlers.shed" || logger == "http.handlers.fanout" || strings.HasSuffix(logger, ".sticky")
}
