// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// simulation is a discrete-event simulation of a gate in front of backends with workers. Arrivals
// are Poisson; each request goes to the less loaded of two random backends.
type simulation struct {
	gate     *Gate
	rng      *rand.Rand
	workers  []int // of each backend
	service  func(r *rand.Rand) time.Duration
	rate     float64       // arrivals a second
	critical float64       // share of the requests
	timeout  time.Duration // of clients; 0 for none

	now     time.Duration
	events  events
	busy    []int
	queues  [][]*job
	done    []outcome
	refused [levels]int
	offered [levels]int
}

type job struct {
	at     time.Duration
	level  Level
	ticket Ticket
	gone   bool
	over   bool
}

type outcome struct {
	at, took time.Duration
	level    Level
}

type event struct {
	at time.Duration
	f  func()
}
type events []event

func (e events) Len() int           { return len(e) }
func (e events) Less(i, j int) bool { return e[i].at < e[j].at }
func (e events) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)        { *e = append(*e, x.(event)) }
func (e *events) Pop() any          { x := (*e)[len(*e)-1]; *e = (*e)[:len(*e)-1]; return x }

func (s *simulation) after(d time.Duration, f func()) { heap.Push(&s.events, event{s.now + d, f}) }

func (s *simulation) run(until time.Duration) {
	for len(s.events) > 0 && s.events[0].at <= until {
		e := heap.Pop(&s.events).(event)
		s.now = e.at
		e.f()
	}
	s.now = until
}

// start starts the arrivals, and runs the simulation for a length of time.
func (s *simulation) start(length time.Duration) {
	s.arrive()
	s.run(s.now + length)
}

func (s *simulation) arrive() {
	s.after(time.Duration(s.rng.ExpFloat64()/s.rate*float64(time.Second)), s.arrive)
	l := Normal
	if s.critical > 0 {
		if l = Background; s.rng.Float64() < s.critical {
			l = Critical
		}
	}
	s.offered[l]++
	t, cause := s.gate.Admit(s.now, l)
	if cause != "" {
		s.refused[l]++
		s.gate.Refuse(l, cause)
		return
	}
	j := &job{at: s.now, level: l, ticket: t}
	if s.timeout > 0 {
		s.after(s.timeout, func() {
			if !j.over {
				j.gone = true
				j.ticket.Leave(s.now, TimedOut)
			}
		})
	}
	b, other := s.rng.IntN(len(s.workers)), s.rng.IntN(len(s.workers))
	if s.load(other)/float64(s.workers[other]) < s.load(b)/float64(s.workers[b]) {
		b = other
	}
	s.queues[b] = append(s.queues[b], j)
	s.serve(b)
}

func (s *simulation) load(b int) float64 { return float64(s.busy[b] + len(s.queues[b])) }

func (s *simulation) serve(b int) {
	for s.busy[b] < s.workers[b] && len(s.queues[b]) > 0 {
		j := s.queues[b][0]
		s.queues[b] = s.queues[b][1:]
		if j.gone {
			continue
		}
		s.busy[b]++
		s.after(s.service(s.rng), func() {
			s.busy[b]--
			if !j.gone {
				j.over = true
				s.done = append(s.done, outcome{s.now, s.now - j.at, j.level})
				j.ticket.Leave(s.now, Answered)
			}
			s.serve(b)
		})
	}
}

func newSimulation(rule Rule, seed uint64, inUse ...Level) *simulation {
	s := &simulation{
		gate: NewGate(Config{Rule: rule, Levels: inUse}, time.Hour), rng: rand.New(rand.NewPCG(seed, 1)), now: time.Hour,
		workers: []int{10, 10, 10}, service: constant(50 * time.Millisecond), busy: make([]int, 3), queues: make([][]*job, 3),
		timeout: time.Second,
	}
	return s
}

func constant(d time.Duration) func(*rand.Rand) time.Duration {
	return func(*rand.Rand) time.Duration { return d }
}

func exponential(d time.Duration) func(*rand.Rand) time.Duration {
	return func(r *rand.Rand) time.Duration { return time.Duration(r.ExpFloat64() * float64(d)) }
}

// figures summarizes the requests that were answered from a time on.
func (s *simulation) figures(from time.Duration) (goodput float64, p50, p99 time.Duration) {
	var took []time.Duration
	for _, o := range s.done {
		if o.at >= from {
			took = append(took, o.took)
		}
	}
	slices.Sort(took)
	if len(took) == 0 {
		return 0, 0, 0
	}
	return float64(len(took)) / (s.now - from).Seconds(), took[len(took)/2], took[int(math.Ceil(float64(len(took))*.99))-1]
}
