// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package ballast_test

import (
	"context"
	"flag"
	"fmt"
	weakrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

var tails = flag.Bool("tails", false, "simulate the tail latencies of all policies and print them")

// The simulated fleet: each backend serves a few requests at a time, in
// exponentially distributed times, and queues the others. 70 % of what the fleet
// can do is asked for, by clients that do not wait for each other.
const (
	fleet    = 16
	workers  = 4
	meanWork = 50 * time.Millisecond
	asked    = 0.7
	span     = 40 * time.Second
)

// workload says what is odd about a fleet.
type workload struct {
	name string
	// slower returns how many times as long backend i takes, now and then.
	slower func(i int, since time.Duration) float64
	broken lbtest.Answerer // what the first backend does instead of its work, or nil
}

var workloads = []workload{
	{name: "equal", slower: alike},
	{name: "heterogeneous", slower: func(i int, _ time.Duration) float64 { return heterogeneous[i] }},
	{name: "one slow", slower: func(i int, since time.Duration) float64 {
		if i == 0 && since > span/2 {
			return 10
		}
		return 1
	}},
	{name: "one refuses", slower: alike, broken: lbtest.Refused},
	{name: "one answers 503", slower: alike, broken: func(req *http.Request) (int, error) {
		_, _ = lbtest.Latency(time.Millisecond)(req)
		return http.StatusServiceUnavailable, nil
	}},
}

func alike(int, time.Duration) float64 { return 1 }

var (
	heterogeneous = [fleet]float64{2, 2, 2.5, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}
	// told are the weights of a user who knows how fast each is.
	told = `[30,30,24,20,20,60,60,60,60,60,60,60,60,60,60,60]`
)

// rows are the policies. Those that hash do not look at load, and are left out.
var rows = []struct{ name, config, only string }{
	{name: "`random` (Caddy)", config: `{"policy":"random"}`},
	{name: "`round_robin` (Caddy)", config: `{"policy":"round_robin"}`},
	{name: "`random_choose` (Caddy)", config: `{"policy":"random_choose","choose":2}`},
	{name: "`least_conn` (Caddy)", config: `{"policy":"least_conn"}`},
	{name: "`weighted_random`", config: `{"policy":"weighted_random"}`},
	{name: "`wrr`", config: `{"policy":"wrr"}`},
	{name: "`wrr`, weights as speeds", config: `{"policy":"wrr","weights":` + told + `}`, only: "heterogeneous"},
	{name: "`p2c`", config: `{"policy":"p2c"}`},
	{name: "`p2c`, weights as speeds", config: `{"policy":"p2c","weights":` + told + `}`, only: "heterogeneous"},
	{name: "`least_request`", config: `{"policy":"least_request"}`},
	{name: "`peak_ewma`", config: `{"policy":"peak_ewma"}`},
	{name: "`least_time`", config: `{"policy":"least_time"}`},
	{name: "`prequal`", config: `{"policy":"prequal"}`},
}

// The table has each policy that needs no key.
func TestTailsHaveEveryPolicy(t *testing.T) {
	for _, name := range lbtest.KeylessPolicies() {
		if !slices.ContainsFunc(rows, func(row struct{ name, config, only string }) bool { return row.name == "`"+name+"`" }) {
			t.Errorf("%s is in no row", name)
		}
	}
}

// TestTails prints the table of docs/policies.md. Arrivals and work are the same
// for all policies and in each run; what policies draw at random is not.
func TestTails(t *testing.T) {
	if !*tails {
		t.Skip("make tails")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(800)) // a million short-lived requests
	cells := make([][]string, len(rows))
	t.Run("simulate", func(t *testing.T) { // returns when all have
		for i, row := range rows {
			cells[i] = make([]string, len(workloads))
			for k, w := range workloads {
				if row.only != "" && row.only != w.name {
					continue
				}
				t.Run(row.name+" "+w.name, func(t *testing.T) {
					t.Parallel()
					// Caddy counts by address, for the whole process.
					cells[i][k] = w.run(t, row.config, fmt.Sprintf("r%dw%d", i, k))
				})
			}
		}
	})
	header, line := "| policy |", "|---|"
	for _, w := range workloads {
		header, line = header+" "+w.name+" |", line+"---|"
	}
	fmt.Println(header + "\n" + line)
	for i, row := range rows {
		fmt.Println("| " + row.name + " | " + strings.Join(cells[i], " | ") + " |")
	}
}

type workKey struct{}

// run returns the cell of the table: quantiles of the time that requests took
// which succeeded, in milliseconds where no unit is written, and the share that
// did where a backend is broken.
func (w workload) run(t *testing.T, policy, prefix string) string {
	var took []time.Duration
	sent := 0
	synctest.Test(t, func(t *testing.T) {
		capacity := 0.0 // of the fleet, in backends of the usual speed
		backends, upstreams := make(lbtest.Backends), make([]string, fleet)
		start := time.Now()
		for i := range fleet {
			capacity += 1 / w.slower(i, 0)
			address := fmt.Sprintf("%s.%d:80", prefix, i)
			upstreams[i] = fmt.Sprintf(`{"dial":%q}`, address)
			backends[address] = queueing(func(work time.Duration) time.Duration {
				return time.Duration(float64(work) * w.slower(i, time.Since(start)))
			})
			if i == 0 && w.broken != nil {
				backends[address] = w.broken
			}
		}
		p := lbtest.NewProxy(t, `{"transport":{"protocol":"lbtest"},"load_balancing":{"selection_policy":`+policy+`},
			"upstreams":[`+strings.Join(upstreams, ",")+`]}`, backends)

		random := weakrand.New(weakrand.NewPCG(11, 2026))
		gap := float64(meanWork) / (capacity * workers * asked)
		var mu sync.Mutex
		var wg sync.WaitGroup
		for time.Since(start) < span {
			time.Sleep(time.Duration(random.ExpFloat64() * gap)) // Poisson arrivals
			work := time.Duration(random.ExpFloat64() * float64(meanWork))
			sent++
			wg.Go(func() {
				sentAt := time.Now()
				req := httptest.NewRequest(http.MethodGet, "http://x/", nil)
				res, err := p.Do(req.WithContext(context.WithValue(req.Context(), workKey{}, work)))
				if err == nil && res.Code == http.StatusOK {
					mu.Lock()
					took = append(took, time.Since(sentAt))
					mu.Unlock()
				}
			})
		}
		wg.Wait()
	})
	if len(took) == 0 {
		return "none"
	}
	slices.Sort(took)
	quantile := func(q float64) string {
		d := took[int(q*float64(len(took)-1))]
		if d >= 10*time.Second {
			return fmt.Sprintf("%.0f s", d.Seconds())
		}
		return fmt.Sprint(d.Milliseconds())
	}
	text := quantile(0.5) + " / " + quantile(0.99) + " / " + quantile(0.999)
	if w.broken != nil {
		text += fmt.Sprintf(", %.2f %%", 100*float64(len(took))/float64(sent))
	}
	return text
}

// queueing returns a backend that does the work that a request brings, in the
// time that takes returns for it.
func queueing(takes func(work time.Duration) time.Duration) lbtest.Answerer {
	busy := make(chan struct{}, workers) // first come, first served
	return func(req *http.Request) (int, error) {
		work, _ := req.Context().Value(workKey{}).(time.Duration)
		busy <- struct{}{}
		time.Sleep(takes(work))
		<-busy
		return http.StatusOK, nil
	}
}
