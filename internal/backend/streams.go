// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package backend

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/ballast-lb/caddy-ballast/internal/health"
)

// ErrClosed is the cause with which the context of a stream ends when its backend goes down.
var ErrClosed = errors.New("the backend went down or into maintenance, and the pool has `on_down close`")

// Streams are the streams of a backend, in pools that close them when the backend goes down: the
// upgraded connections, and the responses whose header has come. Safe for concurrent use.
type Streams struct {
	closings atomic.Uint32 // how often the backend went down or into maintenance
	open     atomic.Int32  // the streams in the list

	mu    sync.Mutex // guards the fields below; held for a few instructions
	first *Stream    // a doubly linked list
	last  outage     // as of the latest CloseStreams
}

// Stream is one stream of a backend. It belongs to the attempt that made it.
type Stream struct {
	cancel   context.CancelCauseFunc
	closings uint32 // of the backend when the attempt began

	// Guarded by the lock of Streams.
	prev, next   *Stream
	opened, left bool
}

// NewStream returns the stream of an attempt that begins, and whose context cancel ends.
func (s *Streams) NewStream(cancel context.CancelCauseFunc) *Stream {
	return &Stream{cancel: cancel, closings: s.closings.Load()}
}

// OpenStream is called when the header of a response has come. It returns false if the backend went down while the
// request waited for it.
func (s *Streams) OpenStream(t *Stream) (inTime bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !t.left {
		if t.next = s.first; t.next != nil {
			t.next.prev = t
		}
		s.first, t.opened = t, true
		s.open.Add(1)
	}
	return t.closings == s.closings.Load()
}

// LeaveStream is called when a stream has ended, opened or not. It ends the context of the attempt.
func (s *Streams) LeaveStream(t *Stream) {
	s.mu.Lock()
	if t.opened {
		s.remove(t)
	}
	t.left = true
	s.mu.Unlock()
	t.cancel(nil)
}

// HasStreams reports whether CloseStreams may have streams to close.
func (s *Streams) HasStreams() bool { return s.open.Load() > 0 }

// Close ends a stream with [ErrClosed].
func (t *Stream) Close() { t.cancel(ErrClosed) }

// remove removes a stream from the list. The caller must hold the lock.
func (s *Streams) remove(t *Stream) {
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		s.first = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	}
	t.prev, t.next, t.opened = nil, nil, false
	s.open.Add(-1)
}

// outage is why a backend should have no streams. A higher one includes a lower one.
type outage uint8

const (
	outageNone  outage = iota
	outageDown         // a check is down
	outageMaint        // an operator or an agent wants no requests at all
)

func (b *Backend) outage() outage {
	switch admin, _ := b.Admin(); {
	case admin == health.Maint:
		return outageMaint
	case !b.Up():
		return outageDown
	}
	return outageNone
}

// CloseStreams closes the streams if the backend has gone down or into maintenance since the last call. It returns
// the number of closed streams, and the state of the backend. An ejection closes no streams.
func (b *Backend) CloseStreams() (closed int, state string) {
	s := &b.Streams
	s.mu.Lock()
	now := b.outage()
	went := now > s.last
	s.last = now
	var streams []*Stream
	if went {
		s.closings.Add(1)
		for s.first != nil {
			streams = append(streams, s.first)
			s.remove(s.first)
		}
	}
	s.mu.Unlock()
	for _, t := range streams {
		t.Close()
	}
	if now == outageMaint {
		return len(streams), StateMaint
	}
	return len(streams), StateDown
}
