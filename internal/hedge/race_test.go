// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package hedge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const ms = time.Millisecond

// script is what an attempt does.
type script struct {
	interim time.Duration // when it has an interim response; 0 for never
	takes   time.Duration // when it has an answer, or fails
	status  int           // 0 for an error
	refused int           // of the second: how often there may be none
}

func (s script) String() string {
	return fmt.Sprintf("{interim %v, takes %v, status %d, refused %d}", s.interim, s.takes, s.status, s.refused)
}

// body is that of an answer.
type body struct {
	io.Reader
	closed atomic.Bool
}

func (b *body) Close() error { b.closed.Store(true); return nil }

// run is one race, and what was seen of it.
type run struct {
	scripts [2]script
	bodies  [2]*body
	causes  [2]error
	called  int
	refused int

	status int // of the result
	by     int
	err    error
	took   time.Duration
}

var errBroken = errors.New("the connection broke")

// hedger makes the attempts by functions. prepare reports whether the second is allowed; nil for always.
type hedger struct {
	first, second func(context.Context) (*http.Response, error)
	prepare       func(context.Context) bool
}

func (r hedger) First(ctx context.Context) (*http.Response, error) { return r.first(ctx) }

func (r hedger) Second(ctx context.Context) func() (*http.Response, error) {
	if r.prepare != nil && !r.prepare(ctx) {
		return nil
	}
	return func() (*http.Response, error) { return r.second(ctx) }
}

func (hedger) Acceptable(res *http.Response, err error) bool {
	return err == nil && res.StatusCode < 500
}

// do makes an attempt as its script says, until its context ends.
func (r *run) do(ctx context.Context, n int) (*http.Response, error) {
	s, start := r.scripts[n], time.Now()
	wait := func(until time.Duration) error {
		select {
		case <-time.After(until - time.Since(start)):
			return nil
		case <-ctx.Done():
			r.causes[n] = context.Cause(ctx)
			return ctx.Err()
		}
	}
	if s.interim > 0 {
		if err := wait(s.interim); err != nil {
			return nil, err
		}
		if trace := httptrace.ContextClientTrace(ctx); trace != nil {
			_ = trace.Got1xxResponse(103, textproto.MIMEHeader{"By": {fmt.Sprint(n)}})
		}
	}
	if err := wait(s.takes); err != nil {
		return nil, err
	}
	if s.status == 0 {
		return nil, errBroken
	}
	r.bodies[n] = &body{Reader: strings.NewReader(fmt.Sprint(n))}
	return &http.Response{StatusCode: s.status, Body: r.bodies[n], ContentLength: 1}, nil
}

// start runs the race with a delay of 10 ms.
func (r *run) start(ctx context.Context) {
	first := func(ctx context.Context) (*http.Response, error) { return r.do(ctx, First) }
	second := func(ctx context.Context) (*http.Response, error) { return r.do(ctx, Second) }
	race := &Race{Delay: 10 * ms, Timers: new(Timers), Hedger: hedger{first, second, func(context.Context) bool {
		r.called++
		if r.refused < r.scripts[Second].refused {
			r.refused++
			return false
		}
		return true
	}}}
	start := time.Now()
	res, by, err := race.Run(ctx)
	r.by, r.err, r.took = by, err, time.Since(start)
	if err == nil {
		r.status = res.StatusCode
		text, _ := io.ReadAll(res.Body)
		if string(text) != fmt.Sprint(by) {
			r.err = fmt.Errorf("the body is %q", text)
		}
		_ = res.Body.Close()
	}
}

// Whatever the attempts do, the result is the first acceptable answer, else any answer, else the
// error of the first attempt; each body is closed; and only a loser's context ends.
func TestRace(t *testing.T) {
	for seed := range uint64(20_000) {
		random := rand.New(rand.NewPCG(seed, 1))
		var r run
		for n := range r.scripts {
			s := script{takes: time.Duration(1+random.IntN(40))*ms + time.Duration(n)*ms/2, status: []int{0, 200, 200, 503}[random.IntN(4)]}
			if random.IntN(4) == 0 {
				s.interim = min(time.Duration(1+random.IntN(20))*ms+time.Duration(n)*ms/4, s.takes)
			}
			r.scripts[n] = s
		}
		if random.IntN(4) == 0 {
			r.scripts[Second].refused = 1 + random.IntN(2)
		}
		synctest.Test(t, func(t *testing.T) {
			var passed []string
			ctx, cancel := context.WithCancel(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
				Got1xxResponse: func(_ int, header textproto.MIMEHeader) error { passed = append(passed, header["By"][0]); return nil },
			}))
			defer cancel()
			r.start(ctx)
			time.Sleep(5 * time.Second) // what is discarded is closed by then
			synctest.Wait()
			if problem := r.judge(passed); problem != "" {
				t.Fatalf("seed %d: %v: %s; got %d %v by %d after %v, interim by %v", seed, r.scripts, problem, r.status, r.err, r.by, r.took, passed)
			}
		})
	}
}

// judge returns what is wrong, or "".
func (r *run) judge(passed []string) string {
	first, second := r.scripts[First], r.scripts[Second]
	for n, b := range r.bodies {
		if b != nil && !b.closed.Load() {
			return fmt.Sprintf("the body of attempt %d is open", n)
		}
	}
	for n, cause := range r.causes {
		if cause != nil && (cause != ErrLost || n == r.by) {
			return fmt.Sprintf("attempt %d ended with %v", n, cause)
		}
	}
	for _, by := range passed {
		if by != fmt.Sprint(r.by) {
			return "an interim response of the other attempt was passed on"
		}
	}
	// When the second attempt begins: after 10 ms, or twice as long again for each refusal.
	begins := 10 * ms * (1<<(second.refused+1) - 1)
	late := first.takes > begins && !(first.interim > 0 && first.interim < begins)
	if !late && first.takes != begins && first.interim != begins {
		if r.by != First || r.took != first.takes || r.status != first.status {
			return "the first attempt was not late"
		}
		return ""
	}
	if first.takes == begins || first.interim == begins {
		return "" // either order
	}
	if len(passed) > 0 {
		return "" // the interim response has decided
	}
	end := [2]time.Duration{first.takes, begins + second.takes}
	good := [2]bool{first.status == 200, second.status == 200}
	switch {
	case good[First] && (!good[Second] || end[First] < end[Second]):
		if r.by != First || r.status != 200 || r.took != end[First] {
			return "the first attempt was to win"
		}
	case good[Second]:
		if r.by != Second || r.status != 200 || r.took != end[Second] {
			return "the second attempt was to win"
		}
	case first.status == 0 && second.status != 0:
		if r.by != Second || r.status != second.status {
			return "only the second attempt has an answer"
		}
	default:
		if r.by != First || r.status != first.status || first.status == 0 && r.err != errBroken {
			return "neither is acceptable, so the first counts"
		}
	}
	return ""
}

// A client that leaves ends both attempts.
func TestClientLeavesRace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 25*ms)
		defer cancel()
		r := run{scripts: [2]script{{takes: time.Hour, status: 200}, {takes: time.Hour, status: 200}}}
		r.start(ctx)
		synctest.Wait()
		for n, cause := range r.causes {
			if cause != context.DeadlineExceeded {
				t.Errorf("attempt %d ended with %v", n, cause)
			}
		}
		if r.took != 25*ms {
			t.Errorf("it took %v", r.took)
		}
	})
}

// A panic of the first attempt goes on, and ends the second; one of the second is its failure.
func TestRacePanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cause error
		broken := func(context.Context) (*http.Response, error) {
			time.Sleep(10 * ms)
			panic("broken transport")
		}
		race := &Race{Delay: ms, Timers: new(Timers), Hedger: hedger{broken, func(ctx context.Context) (*http.Response, error) {
			<-ctx.Done()
			cause = context.Cause(ctx)
			return nil, ctx.Err()
		}, nil}}
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			_, _, _ = race.Run(t.Context())
		}()
		synctest.Wait()
		if cause != ErrLost {
			t.Errorf("the second attempt ended with %v", cause)
		}
		slow := func(context.Context) (*http.Response, error) {
			time.Sleep(15 * ms)
			return &http.Response{StatusCode: 200}, nil
		}
		race = &Race{Delay: ms, Timers: new(Timers), Hedger: hedger{slow, broken, nil}}
		res, by, err := race.Run(t.Context())
		if err != nil || by != First || res.StatusCode != 200 {
			t.Errorf("%v by %d: %v", res, by, err)
		}
	})
}

// The race ends after the second attempt is prepared, which uses what belongs to the request, whatever comes of the
// first meanwhile.
func TestRaceAwaitsThePreparation(t *testing.T) {
	for name, first := range map[string]func() (*http.Response, error){
		"answers": func() (*http.Response, error) { return &http.Response{StatusCode: 200}, nil },
		"fails":   func() (*http.Response, error) { return nil, errBroken },
		"panics":  func() (*http.Response, error) { panic("broken transport") },
	} {
		for what, panics := range map[string]bool{"allowed": false, "panics": true} {
			t.Run(name+", "+what, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var preparing atomic.Bool
					race := &Race{Delay: ms, Timers: new(Timers), Hedger: hedger{
						first:  func(context.Context) (*http.Response, error) { time.Sleep(5 * ms); return first() },
						second: func(context.Context) (*http.Response, error) { return nil, errBroken },
						prepare: func(ctx context.Context) bool {
							preparing.Store(true)
							defer preparing.Store(false)
							time.Sleep(10 * ms)
							if panics {
								panic("broken policy")
							}
							return true
						},
					}}
					func() {
						defer func() { _ = recover() }()
						_, _, _ = race.Run(t.Context())
					}()
					if preparing.Load() {
						t.Error("it has ended while the second attempt was prepared")
					}
				})
			})
		}
	}
}
