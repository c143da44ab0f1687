// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package outlier

import (
	"math"
	"math/bits"
	"time"
)

// Peer is a backend of the pool of [Stalls].
type Peer interface {
	// Breaker returns the circuit breaker, which identifies the backend.
	Breaker() *Ejection
	// EjectionState returns its state.
	EjectionState() EjectionState
	// Progress returns the progress of its attempts.
	Progress() Progress
	// SwapKeyGroups returns the groups of keys in which an attempt began, and those in which one
	// was answered in time, since the last call.
	SwapKeyGroups() (begun, quick uint64)
	// FailedSince reports whether the latest probe of a check failed, and ended after at.
	FailedSince(at time.Duration) bool
}

// Stalls detects backends that answer none of their requests while their peers answer theirs, such
// as a process that hangs or a disk that is lost. It computes how likely the silence is if the
// backend is like its peers. Peers do not answer long requests, such as long polls, either, so
// silence is then likely.
//
// This requires that the requests of a backend are a random sample: those without a key or a
// session, and keys that a hash spreads. Requests of sessions and single keys are not comparable
// with those of the peers; for these, a failed probe is also required. It is for one goroutine.
type Stalls[P Peer] struct {
	stall      time.Duration
	timedOut   int64 // least number of timed-out requests; 0 disables this condition
	n          int   // number of samples so far
	at         time.Duration
	samples    []stallSample // by the index of the backend in members
	members    []P           // the members of the latest sample
	total      [kinds]totals
	candidates []int // indices of possibly stalled members in the current sample
}

// Kinds of requests that are counted separately.
const (
	allKinds = iota
	unbound  // without a key or a session
	kinds
)

const (
	// samplesPerStall is the number of samples in the time of a stall.
	samplesPerStall = 20
	// minSample is the least time between two samples.
	minSample = 5 * time.Millisecond
	// MinStall is the least time of a stall.
	MinStall = samplesPerStall * minSample
	// quickSamples is the number of samples in the time of a quick answer, see
	// [pool.Options].
	quickSamples = samplesPerStall * 3 / 4
	// minWaiting is the least number of unanswered requests, or keys.
	minWaiting = 10
	// minShare is the least share of quick answers for which silence is significant.
	minShare = 0.1
	// maxPValue is the probability of the silence below which it is a stall.
	maxPValue = 1e-6
	// memory is the approximate number of a backend's own answers that count.
	memory = 1000
)

// totals are the totals of attempts and of quick answers on all backends, by sample.
type totals struct{ begun, quick [samplesPerStall + 1]int64 }

// stallSample is the state of one backend.
type stallSample struct {
	last        Progress
	byKind      [kinds]timedOutTracker
	since       time.Duration // the sample before the first one with an unanswered attempt
	quick       float64       // number of its quick answers among answered
	answered    float64
	suspectedAt time.Duration // when it was last suspected

	// Bit sets of key groups: with an attempt begun, and with a quick answer, by sample; and
	// with an unanswered attempt since the latest answer.
	begunKeys, quickKeys [samplesPerStall + 1]uint64
	waitingKeys          uint64
	answeredIn           int // sample of the latest answer
}

// timedOutTracker tracks the attempts of one kind.
type timedOutTracker struct {
	begun    [samplesPerStall + 1]int64
	mark     int64 // at the latest answer: attempts that count as answered
	timedOut int64 // at the latest answer: attempts that timed out
	waiting  int64
}

// NewStalls returns a detector of backends that are silent for the given time, or until the given
// number of requests has timed out; 0 disables the latter.
func NewStalls[P Peer](stall time.Duration, timedOutCount int) *Stalls[P] {
	return &Stalls[P]{stall: max(stall, MinStall), timedOut: int64(timedOutCount)}
}

// Every returns the interval of Evaluate.
func (s *Stalls[P]) Every() time.Duration { return s.stall / samplesPerStall }

// Begun returns the number of attempts that began, in all samples.
func (s *Stalls[P]) Begun() int64 { return s.total[allKinds].begun[s.n%(samplesPerStall+1)] }

// Evaluate takes a sample of all backends. It returns stalled backends, and suspected ones, which
// count as stalled once a probe fails.
func (s *Stalls[P]) Evaluate(now time.Duration, members []P) (stalled, suspected []P) {
	if now-s.at < s.Every()*9/10 { // an extra wake-up
		return nil, nil
	}
	s.arrange(now, members)
	s.at = max(s.at, now-2*s.Every()) // exclude idle time
	s.n++
	slot, before := s.back(0), s.back(1)
	for k := range s.total {
		t := &s.total[k]
		t.begun[slot], t.quick[slot] = t.begun[before], t.quick[before]
	}
	s.candidates = s.candidates[:0]
	for i, b := range members {
		p, sample := b.Progress(), &s.samples[i]
		for k := range s.total {
			sent, last := sentOf(&p, k), sentOf(&sample.last, k)
			s.total[k].begun[slot] += sent.Begun - last.Begun
			s.total[k].quick[slot] += sent.Quick - last.Quick
		}
		sample.begunKeys[slot], sample.quickKeys[slot] = b.SwapKeyGroups()
		if sample.note(p, slot, s.at) {
			sample.answeredIn, sample.waitingKeys = s.n, 0
		} else if s.n-quickSamples > sample.answeredIn {
			sample.waitingKeys |= sample.begunKeys[s.back(quickSamples)]
		}
		if sample.since != 0 && now-sample.silent() >= s.stall && b.EjectionState() == Healthy {
			s.candidates = append(s.candidates, i)
		}
	}
	s.at = now
	if len(s.candidates) == 0 {
		return nil, nil
	}
	keys := s.allKeys()
	for _, i := range s.candidates {
		b, sample := members[i], &s.samples[i]
		switch {
		case s.stalls(unbound, sample) || s.stallsByKeys(i, keys):
			stalled = append(stalled, b)
		case !s.stalls(allKinds, sample):
		case b.FailedSince(sample.silent()):
			stalled = append(stalled, b)
		case now-sample.suspectedAt >= s.stall:
			sample.suspectedAt = now
			suspected = append(suspected, b)
		}
	}
	return stalled, suspected
}

// back returns the slot of the sample n samples ago.
func (s *Stalls[P]) back(n int) int { return (s.n + samplesPerStall + 1 - n) % (samplesPerStall + 1) }

func sentOf(p *Progress, kind int) *AttemptCounts {
	if kind == unbound {
		return &p.Unbound
	}
	return &p.AttemptCounts
}

// arrange aligns the samples with the members, and keeps the state of backends from earlier
// samples.
func (s *Stalls[P]) arrange(now time.Duration, members []P) {
	if len(s.members) == len(members) && (len(members) == 0 || &s.members[0] == &members[0]) {
		return
	}
	known := make(map[*Ejection]int)
	for i, b := range s.members {
		known[b.Breaker()] = i
	}
	samples := make([]stallSample, len(members))
	for i, b := range members {
		if old, ok := known[b.Breaker()]; ok {
			samples[i] = s.samples[old]
			continue
		}
		p := b.Progress()
		b.SwapKeyGroups()
		samples[i] = stallSample{last: p, since: now, answeredIn: s.n}
		for k := range samples[i].byKind {
			t, sent := &samples[i].byKind[k], sentOf(&p, k)
			t.mark, t.timedOut = sent.Begun, sent.TimedOut
			for look := range t.begun {
				t.begun[look] = sent.Begun
			}
		}
	}
	s.samples, s.members = samples, members
}

// silent returns the time since which the backend has been silent.
func (sample *stallSample) silent() time.Duration { return max(sample.since, sample.last.AnsweredAt) }

// note records the progress of the backend since the last sample, and reports whether it has
// answered a request.
func (sample *stallSample) note(p Progress, slot int, lastLook time.Duration) (answered bool) {
	answered = p.Answered != sample.last.Answered
	if answered {
		sample.quick += float64(p.Quick - sample.last.Quick)
		sample.answered += float64(p.Answered - sample.last.Answered)
		if sample.answered > memory {
			sample.quick, sample.answered = sample.quick/2, sample.answered/2
		}
		sample.since = 0
	}
	for k := range sample.byKind {
		t, sent, last := &sample.byKind[k], sentOf(&p, k), sentOf(&sample.last, k)
		t.begun[slot], t.waiting = sent.Begun, sent.Begun-sent.Ended
		if answered {
			// At least this many of the attempts since the last sample are unanswered: the backend
			// may have answered the others and then stopped.
			waiting := max(0, sent.Begun-last.Begun-(sent.Ended-last.Ended))
			t.mark, t.timedOut = sent.Begun-waiting, sent.TimedOut
		}
	}
	if sample.since == 0 && p.Begun > sample.byKind[allKinds].mark {
		sample.since = lastLook
	}
	sample.last = p
	return answered
}

// stalls reports whether a backend that was silent for the stall time has so many unanswered
// requests of a kind that its silence is significant.
func (s *Stalls[P]) stalls(kind int, sample *stallSample) bool {
	t, total, slot := &sample.byKind[kind], &s.total[kind], s.back(0)
	// Requests without an answer after the time of a quick one.
	waited := t.begun[s.back(quickSamples)] - t.mark
	// A policy that compares load sends few requests to a silent backend: they time out one by one,
	// and few are unanswered at a time.
	left := sentOf(&sample.last, kind).TimedOut - t.timedOut
	if (waited < minWaiting || t.waiting < minWaiting) && (s.timedOut == 0 || left < s.timedOut) {
		return false
	}
	peers := total.begun[slot] - total.begun[s.back(samplesPerStall)] - (t.begun[slot] - t.begun[s.back(samplesPerStall)])
	answers := total.quick[slot] - total.quick[s.back(samplesPerStall)]
	return peers >= minWaiting && sample.unlikely(float64(answers)/float64(peers), waited)
}

// keyGroups counts the key groups with attempts older than the time of a quick answer, those of
// them with a quick answer, and the backends with such groups.
type keyGroups struct{ begun, quick, backends int }

// keysOf returns the key groups of one backend.
func (s *Stalls[P]) keysOf(i int) keyGroups {
	var begun, answered uint64
	for n := range samplesPerStall {
		if n >= quickSamples {
			begun |= s.samples[i].begunKeys[s.back(n)]
		}
		answered |= s.samples[i].quickKeys[s.back(n)]
	}
	if begun == 0 {
		return keyGroups{}
	}
	return keyGroups{bits.OnesCount64(begun), bits.OnesCount64(begun & answered), 1}
}

// allKeys returns the sum of keysOf over all backends.
func (s *Stalls[P]) allKeys() (all keyGroups) {
	for i := range s.samples {
		k := s.keysOf(i)
		all.begun, all.quick, all.backends = all.begun+k.begun, all.quick+k.quick, all.backends+k.backends
	}
	return all
}

// stallsByKeys is like stalls, but counts key groups; all are the counts of all backends. A hash
// spreads the keys, so the keys of a backend are comparable with those of its peers, although the
// requests of single keys are not.
func (s *Stalls[P]) stallsByKeys(i int, all keyGroups) bool {
	waited := bits.OnesCount64(s.samples[i].waitingKeys)
	if waited < minWaiting {
		return false
	}
	own := s.keysOf(i)
	begun, quick, peers := all.begun-own.begun, all.quick-own.quick, all.backends-own.backends
	// A peer with many more keys is more likely to answer some key of a group, so its share
	// is not comparable.
	return begun >= minWaiting && 2*waited*peers >= begun && s.samples[i].unlikely(float64(quick)/float64(begun), int64(waited))
}

// unlikely reports whether no answer to the given number of requests is significant, given the
// share of quick answers: that of the peers, or the backend's own if lower.
func (sample *stallSample) unlikely(share float64, waited int64) bool {
	if sample.answered >= minWaiting {
		share = min(share, sample.quick/sample.answered)
	}
	return share >= minShare && math.Pow(1-min(share, 0.99), float64(waited)) <= maxPValue
}
