// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// fake opens meters that all return the same value, and counts the readings.
type fake struct {
	mu       sync.Mutex
	value    float64
	none     bool
	err      error
	noSource error
	opened   int
	reads    map[Signal]int
}

// source is a meter of one signal.
type source struct {
	*fake
	signal Signal
}

func (f *fake) open(signal Signal) (Meter, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.opened++
	return source{f, signal}, f.noSource
}

func (s source) Read() (value float64, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads[s.signal]++
	return s.value, !s.none && s.err == nil, s.err
}

// set changes the fake.
func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// read returns the number of readings of a signal since the last call.
func (f *fake) read(signal Signal) (n int) {
	f.set(func() { n, f.reads[signal] = f.reads[signal], 0 })
	return n
}

func newFake() (*fake, *Sampler) {
	f := &fake{reads: make(map[Signal]int)}
	return f, NewSampler(f.open)
}

func (s *Sampler) mustSubscribe(t *testing.T, signal Signal) *Subscription {
	t.Helper()
	u, err := s.Subscribe(signal)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// pass lets time pass, and waits until the goroutines are idle.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestFirstValueAndUpdates(t *testing.T) {
	defer lbtest.NoLeaks(t)
	synctest.Test(t, func(t *testing.T) {
		f, s := newFake()
		f.value = 0.25
		u := s.mustSubscribe(t, Memory)
		defer u.Close()
		if value, ok := u.Value(); value != 0.25 || !ok {
			t.Errorf("got %v, %v at once", value, ok)
		}
		f.set(func() { f.value = 0.75 })
		pass(every - 1)
		if value, _ := u.Value(); value != 0.25 {
			t.Errorf("got %v before the second reading", value)
		}
		pass(1)
		if value, ok := u.Value(); value != 0.75 || !ok {
			t.Errorf("got %v, %v after the second reading", value, ok)
		}
	})
}

func TestOnlySignalsInUseAreRead(t *testing.T) {
	defer lbtest.NoLeaks(t)
	synctest.Test(t, func(t *testing.T) {
		f, s := newFake()
		memory, again, io := s.mustSubscribe(t, Memory), s.mustSubscribe(t, Memory), s.mustSubscribe(t, PressureIO)
		if f.opened != 2 {
			t.Errorf("%d sources were opened for two signals", f.opened)
		}
		f.read(Memory)
		f.read(PressureIO)
		pass(time.Second)
		if m, i, c := f.read(Memory), f.read(PressureIO), f.read(CPU); m != 4 || i != 4 || c != 0 {
			t.Errorf("readings in a second: memory %d, pressure_io %d, cpu %d", m, i, c)
		}
		io.Close()
		memory.Close()
		memory.Close() // again: has no effect
		pass(time.Second)
		if m, i := f.read(Memory), f.read(PressureIO); m != 4 || i != 0 {
			t.Errorf("after one of two users has left, memory was read %d times; after the only one has, pressure_io %d times", m, i)
		}
		if _, ok := memory.Value(); !ok {
			t.Error("the signal that one user has left has no value for the other")
		}
		again.Close()
		pass(time.Hour)
		if m := f.read(Memory); m != 0 {
			t.Errorf("memory was read %d times after all had left", m)
		}
		if value, ok := again.Value(); ok {
			t.Errorf("a closed subscription gives %v", value)
		}
		if len(s.gauges) != 0 {
			t.Errorf("%d gauges are left", len(s.gauges))
		}
	})
}

// A new configuration subscribes before the old one unsubscribes.
func TestReadingsContinueOverReloads(t *testing.T) {
	defer lbtest.NoLeaks(t)
	synctest.Test(t, func(t *testing.T) {
		f, s := newFake()
		f.value = 0.5
		u := s.mustSubscribe(t, CPU)
		pass(2 * time.Second)
		for range 10 {
			f.read(CPU)
			next := s.mustSubscribe(t, CPU)
			if value, ok := next.Value(); !ok || math.Abs(value-0.5) > 1e-9 {
				t.Errorf("after a reload, the value is %v, %v", value, ok)
			}
			u.Close()
			u = next
			pass(time.Second)
			if n := f.read(CPU); n != 4 {
				t.Errorf("%d readings in the second after a reload", n)
			}
		}
		u.Close()
		if f.opened != 1 {
			t.Errorf("%d sources were opened", f.opened)
		}
		u = s.mustSubscribe(t, CPU) // the first subscription again
		defer u.Close()
		if value, ok := u.Value(); ok {
			t.Errorf("a new first subscription gives %v", value)
		}
	})
}

func TestOneSpikeIsNoOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := newFake()
		f.value = 1 // while the configuration loads
		u := s.mustSubscribe(t, CPU)
		defer u.Close()
		pass(every)
		f.set(func() { f.value = 0.2 })
		pass(2 * every)
		if value, ok := u.Value(); ok {
			t.Errorf("got %v in the first second", value)
		}
		pass(every)
		if value, ok := u.Value(); !ok || value > 0.5 {
			t.Errorf("got %v, %v after a second, of which a quarter was busy", value, ok)
		}
		pass(10 * time.Second)
		if value, _ := u.Value(); math.Abs(value-0.2) > 1e-3 {
			t.Errorf("got %v at rest, want 0.2", value)
		}
		f.set(func() { f.value = 1 })
		pass(every)
		// The average moves by the share 1-exp(-1/4).
		if value, _ := u.Value(); math.Abs(value-(0.2+0.8*0.2212)) > 1e-3 {
			t.Errorf("got %v after a spike", value)
		}
		pass(3 * time.Second)
		if value, _ := u.Value(); value < 0.95 {
			t.Errorf("got %v after more than 3 s of overload", value)
		}
		f.set(func() { f.none = true }) // counters have decreased
		pass(every)
		f.set(func() { f.none, f.value = false, 0.3 })
		pass(3 * every)
		if value, ok := u.Value(); ok {
			t.Errorf("got %v within a second of a gap", value)
		}
		pass(every)
		if value, ok := u.Value(); !ok || math.Abs(value-0.3) > 1e-9 {
			t.Errorf("got %v, %v after a gap, want an average that starts anew", value, ok)
		}
	})
}

func TestErrorsAreReportedAndEnd(t *testing.T) {
	defer lbtest.NoLeaks(t)
	synctest.Test(t, func(t *testing.T) {
		broken, gone := errors.New("broken"), errors.New("gone")
		f, s := newFake()
		f.noSource = gone
		if _, err := s.Subscribe(Memory); err != gone {
			t.Errorf("a signal that is not available gives %v", err)
		}
		pass(time.Second)
		f.noSource = nil
		u := s.mustSubscribe(t, Memory)
		defer u.Close()
		if err := u.Err(); err != nil {
			t.Error(err)
		}
		for _, step := range []struct {
			err, noSource error
			want          error
		}{{broken, nil, broken}, {nil, gone, gone}, {broken, nil, broken}, {nil, nil, nil}} {
			f.set(func() { f.err, f.noSource = step.err, step.noSource })
			pass(every)
			if _, ok := u.Value(); ok != (step.want == nil) || u.Err() != step.want {
				t.Errorf("got %v, %v, want %v", ok, u.Err(), step.want)
			}
		}
	})
}

// For the race detector, in real time.
func TestConcurrentUsers(t *testing.T) {
	defer lbtest.NoLeaks(t)
	f, s := newFake()
	f.value = 0.5
	var users sync.WaitGroup
	var wrong atomic.Int64
	for i := range 8 {
		users.Go(func() {
			for range 200 {
				u, err := s.Subscribe(Signals()[i%3])
				if err != nil {
					wrong.Add(1)
					return
				}
				if value, ok := u.Value(); ok && value != 0.5 {
					wrong.Add(1)
				}
				s.worker.Wake()
				u.Close()
			}
		})
	}
	users.Wait()
	if wrong.Load() != 0 || len(s.gauges) != 0 {
		t.Errorf("%d values are wrong, and %d gauges are left", wrong.Load(), len(s.gauges))
	}
}

func TestSubscribeToThisMachine(t *testing.T) {
	needsLinux(t)
	defer lbtest.NoLeaks(t)
	for _, signal := range Signals() {
		u, err := Subscribe(signal)
		if errors.Is(err, ErrUnsupported) {
			continue
		}
		if err != nil {
			t.Error(err)
			continue
		}
		if value, ok := u.Value(); !(value >= 0 && value <= 1) || ok != (signal != CPU) || u.Err() != nil {
			t.Errorf("%s is %v, %v, %v", signal, value, ok, u.Err())
		}
		u.Close()
	}
}

func BenchmarkRead(b *testing.B) {
	for _, signal := range Signals() {
		b.Run(string(signal), func(b *testing.B) {
			source, err := Open("/", signal)
			if err != nil {
				b.Skip(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if s, isCPU := source.(*cpuMeter); isCPU {
					s.before.at = s.before.at.Add(-minInterval)
				}
				if _, _, err := source.Read(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
