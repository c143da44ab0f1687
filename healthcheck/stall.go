// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"math"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// Stalls looks for backends that hold requests and answer none, while their
// peers answer the same mix: a process that hangs, a disk that is lost. It asks
// how likely the silence would be if the backend were as its peers are. Requests
// that take long, such as long polls, are not answered by the peers either, so
// that silence about them is likely. To be used by one goroutine.
type Stalls struct {
	stall time.Duration
	vain  int64 // how many requests must be given up in vain; 0 for any number
	n     int   // looks so far
	at    time.Duration
	of    []silence        // by the place of the backend in members
	who   *backend.Members // whose places they are
	begun [looks + 1]int64 // attempts on all, by look
	quick [looks + 1]int64 // answers in time from all, by look
	maybe []int            // those that may stall, of one look
}

const (
	// looks is how many there are in the time of a stall.
	looks = 20
	// quickest is the least time between two of them, for a very short stall.
	quickest = 5 * time.Millisecond
	// quickLooks is how many are in the time that an answer may take: as
	// [backend.Outliers] has it.
	quickLooks = looks * 3 / 4
	// minWaiting is how many requests must wait in vain.
	minWaiting = 10
	// minShare is the least share of requests that are answered in time for
	// silence to mean anything.
	minShare = 0.1
	// chance is how unlikely the silence must be.
	chance = 1e-6
	// memory is how many of a backend's own answers count, about.
	memory = 1000
)

// silence is what is known of a backend.
type silence struct {
	begun    [looks + 1]int64
	last     backend.Progress
	mark     int64         // attempts begun when the latest answer was seen
	vain     int64         // attempts given up in vain by then
	since    time.Duration // the look before an attempt was first seen to wait
	quick    float64       // of its own answers, those in time
	answered float64
}

// NewStalls returns a search for backends that are silent for the given time, or
// while so many clients give up; 0 for any number.
func NewStalls(stall time.Duration, vain int) *Stalls {
	return &Stalls{stall: max(stall, looks*quickest), vain: int64(vain)}
}

// Every returns how often to look.
func (s *Stalls) Every() time.Duration { return s.stall / looks }

// Begun returns how many attempts were seen to begin, in all looks.
func (s *Stalls) Begun() int64 { return s.begun[s.n%(looks+1)] }

// Look notes how far all backends have come, and returns those that stall.
func (s *Stalls) Look(now time.Duration, members *backend.Members) (stalled []*backend.Backend) {
	if now-s.at < s.Every()*9/10 { // woken for something else
		return nil
	}
	s.arrange(now, members)
	s.at = max(s.at, now-2*s.Every()) // not the time of a rest
	s.n++
	slot := s.n % (looks + 1)
	begun, quick := s.begun[(slot+looks)%(looks+1)], s.quick[(slot+looks)%(looks+1)]
	s.maybe = s.maybe[:0]
	for i, b := range members.All {
		p, of := b.Progress(), &s.of[i]
		begun += p.Begun - of.last.Begun
		quick += p.Quick - of.last.Quick
		of.note(p, slot, s.at)
		if of.since != 0 && now-max(of.since, p.AnsweredAt) >= s.stall && b.Phase() == backend.In {
			s.maybe = append(s.maybe, i)
		}
	}
	s.begun[slot], s.quick[slot], s.at = begun, quick, now
	for _, i := range s.maybe {
		if s.stalls(slot, members.All[i], &s.of[i]) {
			stalled = append(stalled, members.All[i])
		}
	}
	return stalled
}

// arrange gives each member its place. What is known of it is kept.
func (s *Stalls) arrange(now time.Duration, members *backend.Members) {
	if s.who == members {
		return
	}
	known := make(map[*backend.State]int)
	if s.who != nil {
		for i, b := range s.who.All {
			known[b.State] = i
		}
	}
	of := make([]silence, len(members.All))
	for i, b := range members.All {
		if old, ok := known[b.State]; ok {
			of[i] = s.of[old]
			continue
		}
		p := b.Progress()
		of[i] = silence{last: p, mark: p.Begun, vain: p.Vain, since: now}
		for look := range of[i].begun {
			of[i].begun[look] = p.Begun
		}
	}
	s.of, s.who = of, members
}

// note takes what the backend has done since the last look.
func (of *silence) note(p backend.Progress, slot int, lastLook time.Duration) {
	switch {
	case p.Answered != of.last.Answered:
		of.quick += float64(p.Quick - of.last.Quick)
		of.answered += float64(p.Answered - of.last.Answered)
		if of.answered > memory {
			of.quick, of.answered = of.quick/2, of.answered/2
		}
		of.mark, of.vain, of.since = p.Begun, p.Vain, 0
	case of.since == 0 && p.Begun > of.mark:
		of.since = lastLook
	}
	of.begun[slot], of.last = p.Begun, p
}

// stalls reports whether a backend that has been silent for the time has had so
// many requests in it that it would be a miracle if nothing were wrong.
func (s *Stalls) stalls(slot int, b *backend.Backend, of *silence) bool {
	back := func(n int) int { return (slot + looks + 1 - n) % (looks + 1) }
	// Those that have had the time that an answer may take, and got none.
	waited := of.begun[back(quickLooks)] - of.mark
	// A policy that goes by load sends few to who answers none: they leave one
	// by one, and never are as many at a time.
	left := of.last.Vain - of.vain
	if (waited < minWaiting || b.Waiting() < minWaiting) && (s.vain == 0 || left < s.vain) {
		return false
	}
	peers := s.begun[slot] - s.begun[back(looks)] - (of.begun[slot] - of.begun[back(looks)])
	answers := s.quick[slot] - s.quick[back(looks)]
	if peers < minWaiting {
		return false
	}
	// The share of requests that a backend answers in time: the peers' now, or
	// this one's own, if it was less: it may have been given what takes long.
	share := float64(answers) / float64(peers)
	if of.answered >= minWaiting {
		share = min(share, of.quick/of.answered)
	}
	return share >= minShare && math.Pow(1-min(share, 0.99), float64(waited)) <= chance
}
