// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"math"
	"math/bits"
	"slices"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/health"
)

// Stalls looks for backends that hold requests and answer none, while their peers
// answer: a process that hangs, a disk that is lost. It asks how likely the silence
// would be if the backend were as its peers are. Requests that take long, such as long
// polls, are not answered by the peers either, so that silence about them is likely.
//
// That holds for what a backend has a random sample of: requests that no key and no
// session has brought, and keys that a hash has spread. What sessions and single keys
// bring is like nothing that the peers have. About these it takes a probe that fails.
// To be used by one goroutine.
type Stalls struct {
	stall    time.Duration
	timedOut int64 // how many requests must be given up in vain; 0 for any number
	n        int   // looks so far
	at       time.Duration
	of       []stallSample    // by the place of the backend in members
	who      *backend.Members // whose places they are
	total    [kinds]totals
	maybe    []int // those that may stall, of one look
}

// The kinds of requests that are counted.
const (
	every   = iota
	unbound // by a key or a session
	kinds
)

const (
	// samplesPerStall is how many there are in the time of a stall.
	samplesPerStall = 20
	// minStall is the least time between two of them, for a very short stall.
	minStall = 5 * time.Millisecond
	// quickSamples is how many are in the time that an answer may take: as
	// [backend.OutlierRules] has it.
	quickSamples = samplesPerStall * 3 / 4
	// minWaiting is how many requests, or keys, must wait in vain.
	minWaiting = 10
	// minShare is the least share of requests that are answered in time for
	// silence to mean anything.
	minShare = 0.1
	// maxPValue is how unlikely the silence must be.
	maxPValue = 1e-6
	// memory is how many of a backend's own answers count, about.
	memory = 1000
)

// totals are the attempts on all backends, and the answers in time, by look.
type totals struct{ begun, quick [samplesPerStall + 1]int64 }

// stallSample is what is known of a backend.
type stallSample struct {
	last     backend.Progress
	of       [kinds]timedOutTracker
	since    time.Duration // the look before an attempt was first seen to wait
	quick    float64       // of its own answers, those in time
	answered float64
	asked    time.Duration // when it was last suspected

	// The groups of keys, a bit each, that had an attempt begin, or answered in time,
	// by look; and those that have waited in vain since it was last heard of.
	begunKeys, quickKeys [samplesPerStall + 1]uint64
	waitingKeys          uint64
	heard                int // the look
}

// timedOutTracker is what is known of the attempts of one kind.
type timedOutTracker struct {
	begun    [samplesPerStall + 1]int64
	mark     int64 // begun and answered, or not to count, when the latest answer was seen
	timedOut int64 // given up in vain by then
	waiting  int64
}

// NewStalls returns a search for backends that are silent for the given time, or
// while so many clients give up; 0 for any number.
func NewStalls(stall time.Duration, timedOutCount int) *Stalls {
	return &Stalls{stall: max(stall, samplesPerStall*minStall), timedOut: int64(timedOutCount)}
}

// Every returns how often to look.
func (s *Stalls) Every() time.Duration { return s.stall / samplesPerStall }

// Begun returns how many attempts were seen to begin, in all looks.
func (s *Stalls) Begun() int64 { return s.total[every].begun[s.n%(samplesPerStall+1)] }

// Evaluate notes how far all backends have come. It returns those that stall, and those
// that are suspected: a probe would tell.
func (s *Stalls) Evaluate(now time.Duration, members *backend.Members) (stalled, suspected []*backend.Backend) {
	if now-s.at < s.Every()*9/10 { // woken for something else
		return nil, nil
	}
	s.arrange(now, members)
	s.at = max(s.at, now-2*s.Every()) // not the time of a rest
	s.n++
	slot, before := s.back(0), s.back(1)
	for k := range s.total {
		t := &s.total[k]
		t.begun[slot], t.quick[slot] = t.begun[before], t.quick[before]
	}
	s.maybe = s.maybe[:0]
	for i, b := range members.All {
		p, of := b.Progress(), &s.of[i]
		for k := range s.total {
			sent, last := sentOf(&p, k), sentOf(&of.last, k)
			s.total[k].begun[slot] += sent.Begun - last.Begun
			s.total[k].quick[slot] += sent.Quick - last.Quick
		}
		of.begunKeys[slot], of.quickKeys[slot] = b.SwapKeyGroups()
		if of.note(p, slot, s.at) {
			of.heard, of.waitingKeys = s.n, 0
		} else if s.n-quickSamples > of.heard {
			of.waitingKeys |= of.begunKeys[s.back(quickSamples)]
		}
		if of.since != 0 && now-of.silent() >= s.stall && b.EjectionState() == backend.Healthy {
			s.maybe = append(s.maybe, i)
		}
	}
	s.at = now
	for _, i := range s.maybe {
		b, of := members.All[i], &s.of[i]
		switch {
		case s.stalls(unbound, of) || s.losesKeys(i):
			stalled = append(stalled, b)
		case !s.stalls(every, of):
		case slices.ContainsFunc(b.Statuses(), func(v *health.Status) bool { return v.FailedSince(of.silent()) }):
			stalled = append(stalled, b)
		case now-of.asked >= s.stall:
			of.asked = now
			suspected = append(suspected, b)
		}
	}
	return stalled, suspected
}

// back returns the slot of so many looks ago.
func (s *Stalls) back(n int) int { return (s.n + samplesPerStall + 1 - n) % (samplesPerStall + 1) }

func sentOf(p *backend.Progress, kind int) *backend.AttemptCounts {
	if kind == unbound {
		return &p.Unbound
	}
	return &p.AttemptCounts
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
	of := make([]stallSample, len(members.All))
	for i, b := range members.All {
		if old, ok := known[b.State]; ok {
			of[i] = s.of[old]
			continue
		}
		p := b.Progress()
		b.SwapKeyGroups()
		of[i] = stallSample{last: p, since: now, heard: s.n}
		for k := range of[i].of {
			t, sent := &of[i].of[k], sentOf(&p, k)
			t.mark, t.timedOut = sent.Begun, sent.TimedOut
			for look := range t.begun {
				t.begun[look] = sent.Begun
			}
		}
	}
	s.of, s.who = of, members
}

// silent returns since when the backend has been silent.
func (of *stallSample) silent() time.Duration { return max(of.since, of.last.AnsweredAt) }

// note takes what the backend has done since the last look, and reports whether it has
// answered anything.
func (of *stallSample) note(p backend.Progress, slot int, lastLook time.Duration) (answered bool) {
	answered = p.Answered != of.last.Answered
	if answered {
		of.quick += float64(p.Quick - of.last.Quick)
		of.answered += float64(p.Answered - of.last.Answered)
		if of.answered > memory {
			of.quick, of.answered = of.quick/2, of.answered/2
		}
		of.since = 0
	}
	for k := range of.of {
		t, sent, last := &of.of[k], sentOf(&p, k), sentOf(&of.last, k)
		t.begun[slot], t.waiting = sent.Begun, sent.Begun-sent.Ended
		if answered {
			// Of those that began since the last look, at least so many still wait:
			// the backend may have answered the others, and then no more.
			waiting := max(0, sent.Begun-last.Begun-(sent.Ended-last.Ended))
			t.mark, t.timedOut = sent.Begun-waiting, sent.TimedOut
		}
	}
	if of.since == 0 && p.Begun > of.of[every].mark {
		of.since = lastLook
	}
	of.last = p
	return answered
}

// stalls reports whether a backend that has been silent for the time has had so
// many requests of a kind in it that it would be a miracle if nothing were wrong.
func (s *Stalls) stalls(kind int, of *stallSample) bool {
	t, total, slot := &of.of[kind], &s.total[kind], s.back(0)
	// Those that have had the time that an answer may take, and got none.
	waited := t.begun[s.back(quickSamples)] - t.mark
	// A policy that goes by load sends few to who answers none: they leave one
	// by one, and never are as many at a time.
	left := sentOf(&of.last, kind).TimedOut - t.timedOut
	if (waited < minWaiting || t.waiting < minWaiting) && (s.timedOut == 0 || left < s.timedOut) {
		return false
	}
	peers := total.begun[slot] - total.begun[s.back(samplesPerStall)] - (t.begun[slot] - t.begun[s.back(samplesPerStall)])
	answers := total.quick[slot] - total.quick[s.back(samplesPerStall)]
	return peers >= minWaiting && of.unlikely(float64(answers)/float64(peers), waited)
}

// losesKeys reports the same of a backend that has had the requests of so many keys.
// A hash has spread them, so that its keys are as those of its peers, though the
// requests of one key are not as those of another.
func (s *Stalls) losesKeys(i int) bool {
	waited := bits.OnesCount64(s.of[i].waitingKeys)
	if waited < minWaiting {
		return false
	}
	all, quick, peers := 0, 0, 0
	for j := range s.of {
		if j == i {
			continue
		}
		var begun, answered uint64
		for n := range samplesPerStall {
			if n >= quickSamples {
				begun |= s.of[j].begunKeys[s.back(n)]
			}
			answered |= s.of[j].quickKeys[s.back(n)]
		}
		if begun != 0 {
			peers++
			all += bits.OnesCount64(begun)
			quick += bits.OnesCount64(begun & answered)
		}
	}
	// A group of keys of a peer that has many more keys is more likely to have one that
	// is answered.
	return all >= minWaiting && 2*waited*peers >= all && s.of[i].unlikely(float64(quick)/float64(all), int64(waited))
}

// unlikely reports whether silence about so many is, where a share is answered in
// time: that of the peers now, or the backend's own, if it was less.
func (of *stallSample) unlikely(share float64, waited int64) bool {
	if of.answered >= minWaiting {
		share = min(share, of.quick/of.answered)
	}
	return share >= minShare && math.Pow(1-min(share, 0.99), float64(waited)) <= maxPValue
}
