// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"fmt"
	"math"
	weakrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/cespare/xxhash/v2"

	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// tables builds the table of each hash policy with its defaults.
var tables = map[string]func([]member) hashTable{
	"ring_hash":  func(all []member) hashTable { return newRing(all, defaultMinRing) },
	"maglev":     func(all []member) hashTable { return newMaglev(all, maglevSizeFor(len(all))) },
	"rendezvous": func(all []member) hashTable { return newRendezvous(all, rendezvousBits) },
}

func keyHash(i int) uint64 { return xxhash.Sum64String(fmt.Sprint("key-", i)) }

// owners returns the ids that the first n keys belong to.
func owners(tab hashTable, ids []string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = ids[tab.owner(tab.start(keyHash(i)))]
	}
	return all
}

func idsOf(all []member) []string {
	ids := make([]string, len(all))
	for _, m := range all {
		ids[m.index] = m.id
	}
	return ids
}

// The reference vectors of xxHash 64 with seed 0, as in its specification's sanity checks. A change
// of the hash would move every key of every user.
func TestHashIsXXHash64(t *testing.T) {
	for text, want := range map[string]uint64{
		"": 0xef46db3751d8e999, "a": 0xd24ec4f1a98c6e5b, "abc": 0x44bc2cf5ad770999,
	} {
		if got := xxhash.Sum64String(text); got != want {
			t.Errorf("%q: %#x, want %#x", text, got, want)
		}
	}
	if got := mix(0); got != 0xe220a8397b1dcdaf { // first output of SplitMix64 with seed 0
		t.Errorf("mix(0) = %#x", got)
	}
}

// The mapping must be the same in all releases, since instances of two releases serve together
// during an update. A change here is a breaking change.
func TestMappingIsPinned(t *testing.T) {
	ids, weights := []string{"a", "b", "c", "d", "e"}, []float64{1, 2, 3, 4, 5}
	for name, want := range map[string]string{
		"ring_hash":  "beedecbbcdeeeeeeededebbdceededceeececbdb bebdebceedeeccceeeee",
		"maglev":     "ddcdecceceeddecbadeeebceeebedeecedccdede ddeabcdeeedeaddaabae",
		"rendezvous": "eeeadecedacedcdeceddddcbedbdecedeedcdeec eaecddecddeccedbeece",
	} {
		tab, got := tables[name](members(ids, weights)), ""
		for i := range 40 {
			got += ids[tab.owner(tab.start(keyHash(i)))]
		}
		got += " "
		for pos, i := tab.start(keyHash(0)), 0; i < 20; i++ { // and the next choices of a key
			got += ids[tab.owner(pos)]
			pos = tab.next(pos)
		}
		if got != want {
			t.Errorf("%s: got  %s\nwant %s", name, got, want)
		}
	}
}

// The example of the Maglev paper (3.4): the permutations of three backends over
// 7 slots, and the lookup table with B1 and without it.
func TestMaglevIsAsPublished(t *testing.T) {
	all := members([]string{"B0", "B1", "B2"}, []float64{1, 1, 1})
	walks := []maglevPermutation{{3, 4, 7}, {0, 2, 7}, {3, 1, 7}}
	if got, want := fillMaglev(all, slices.Clone(walks), 7), (slots{1, 0, 1, 0, 2, 2, 0}); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	all, walks = slices.Delete(all, 1, 2), slices.Delete(walks, 1, 2)
	if got, want := fillMaglev(all, walks, 7), (slots{0, 0, 0, 0, 2, 2, 2}); !slices.Equal(got, want) {
		t.Errorf("without B1: got %v, want %v", got, want)
	}
	for _, tt := range []struct {
		offset, skip uint32
		want         []uint32
	}{
		{3, 4, []uint32{3, 0, 4, 1, 5, 2, 6}},
		{0, 2, []uint32{0, 2, 4, 6, 1, 3, 5}},
		{3, 1, []uint32{3, 4, 5, 6, 0, 1, 2}},
	} {
		w, got := maglevPermutation{tt.offset, tt.skip, 7}, []uint32{}
		for range 7 {
			got = append(got, w.step())
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("got %v, want %v", got, tt.want)
		}
	}
}

func TestPermutationVisitsEverySlot(t *testing.T) {
	for _, size := range []int{7, 13, maglevSize} {
		for _, id := range []string{"", "a", "10.0.0.1:80"} {
			w, seen := newMaglevPermutation(id, size), make([]bool, size)
			for range size {
				slot := w.step()
				if seen[slot] {
					t.Fatalf("%q visits slot %d of %d twice", id, slot, size)
				}
				seen[slot] = true
			}
		}
	}
	for _, bits := range []int{2, 3, 10, rendezvousBits} {
		d, seen := newPermutation("10.0.0.1:80", bits), make([]bool, 1<<bits)
		for k := range seen {
			if slot := d.slot(k); seen[slot] {
				t.Fatalf("slot %d of 1<<%d is visited twice", slot, bits)
			} else {
				seen[slot] = true
			}
		}
	}
	for _, size := range []int{maglevSize, maglevBig} {
		for d := 2; d*d <= size; d++ {
			if size%d == 0 {
				t.Errorf("%d is not prime: %d divides it", size, d)
			}
		}
	}
}

// Each slot belongs to the backend with the lowest bid, as a comparison of all backends finds it.
func TestRendezvousIsHighestRandomWeight(t *testing.T) {
	const bits, size = 10, 1 << 10
	for _, weights := range [][]float64{{1}, {1, 1, 1}, {1, 2, 3, 4}, {0.1, 65535, 7, 7, 7}} {
		var ids []string
		for i := range weights {
			ids = append(ids, fmt.Sprint("u", i))
		}
		all := members(ids, weights)
		got := newRendezvous(all, bits)
		best, who := make([]float64, size), make([]int, size)
		for i, m := range all {
			d := newPermutation(m.id, bits)
			for k := range size {
				slot := d.slot(k)
				bid := -math.Log((float64(size-k)-0.5)/float64(size)) / m.weight
				if i == 0 || bid < best[slot] || bid == best[slot] && wins(m.id, all[who[slot]].id, slot) {
					best[slot], who[slot] = bid, i
				}
			}
		}
		for slot := range size {
			if got[slot] != all[who[slot]].index {
				t.Fatalf("weights %v: slot %d belongs to %d, want %d", weights, slot, got[slot], all[who[slot]].index)
			}
		}
	}
}

func TestMappingIgnoresOrder(t *testing.T) {
	for name, build := range tables {
		for _, n := range []int{1, 2, 5, 100, 700} {
			ids, weights := make([]string, n), make([]float64, n)
			for i := range ids {
				ids[i], weights[i] = fmt.Sprint("u", i), float64(1+i%4)
			}
			want := owners(build(members(ids, weights)), ids, 5000)
			weakrand.Shuffle(n, func(i, j int) {
				ids[i], ids[j], weights[i], weights[j] = ids[j], ids[i], weights[j], weights[i]
			})
			if !slices.Equal(owners(build(members(ids, weights)), ids, 5000), want) {
				t.Errorf("%s: the order of %d backends matters", name, n)
			}
		}
	}
}

// When one of n backends leaves, its keys move, 1/n of all with a margin of 2 %, and when it joins
// again the same keys move back. With ring_hash and rendezvous no other key moves.
func TestKeyMovement(t *testing.T) {
	const keys = 50_000
	for name, build := range tables {
		for _, n := range []int{5, 20, 100} {
			with := equalMembers(n)
			ids := idsOf(with)
			before := owners(build(with), ids, keys)
			for _, leaver := range []int{0, n / 2, n - 1} {
				id := with[leaver].id
				after := owners(build(slices.Delete(slices.Clone(with), leaver, leaver+1)), ids, keys)
				moved, others := 0, 0
				for i := range keys {
					if before[i] != after[i] {
						moved++
						if before[i] != id {
							others++
						}
					}
				}
				limit := 1/float64(n) + 0.02
				switch {
				case name == "maglev":
					limit = 2/float64(n) + 0.02
				case name == "rendezvous" && others > 0, name == "ring_hash" && n*defaultMinRing <= maxRing && others > 0:
					t.Errorf("%s: %d keys of others moved with %s of %d", name, others, id, n)
				}
				if got := float64(moved) / keys; got > limit {
					t.Errorf("%s: %.4f of the keys moved with %s of %d, want at most %.4f", name, got, id, n, limit)
				}
			}
		}
	}
}

// When a weight grows, keys move to that backend only.
func TestWeightChangeMovesNoOtherKeys(t *testing.T) {
	for _, name := range []string{"ring_hash", "rendezvous"} {
		ids := []string{"a", "b", "c", "d"}
		before := owners(tables[name](members(ids, []float64{1, 2, 3, 4})), ids, 50_000)
		after := owners(tables[name](members(ids, []float64{1, 2.5, 3, 4})), ids, 50_000)
		for i := range before {
			if before[i] != after[i] && after[i] != "b" {
				t.Fatalf("%s: a key moved from %s to %s when the weight of b grew", name, before[i], after[i])
			}
		}
	}
}

func TestHashSharesFollowWeights(t *testing.T) {
	const keys = 200_000
	for name, build := range tables {
		for _, weights := range [][]float64{{1, 2, 3, 4}, {4, 3, 2, 1}, {0, 1, 2, 3, 4, 0}, {100, 200, 300, 400}} {
			var ids []string
			sum := 0.0
			for i, w := range weights {
				ids, sum = append(ids, fmt.Sprintf("10.0.0.%d:80", i)), sum+w
			}
			count := counts(owners(build(members(ids, weights)), ids, keys))
			for i, id := range ids {
				want := keys * weights[i] / sum
				if got := float64(count[id]); math.Abs(got-want) > 0.05*want {
					t.Errorf("%s, weights %v: %s got %v, want %v", name, weights, id, got, want)
				}
			}
		}
	}
}

// fixedPool returns a policy in a pool, with the statuses of the backends.
func fixedPool(t *testing.T, name, key, options string, n int) (reverseproxy.Selector, []*health.Status, *pool.Pool) {
	weights := make([]int, n)
	for i := range weights {
		weights[i] = 1
	}
	pool, statuses := testPool(weights...)
	return inPool(t, policies(t)[name], name+" "+key+options, pool), statuses, pool
}

func withKey(value string) *http.Request {
	r := request()
	if value != "" {
		r.Header.Set("X-Key", value)
	}
	return r
}

// While a backend is down, each of its keys has a stable second choice, no other key moves, and its
// load is spread over all other backends.
func TestSecondChoice(t *testing.T) {
	for name := range tables {
		sel, statuses, _ := fixedPool(t, name, "header X-Key", "", 5)
		before := make([]string, 2000)
		for i := range before {
			before[i] = sel.Select(nil, withKey(fmt.Sprint(i)), nil).Dial
		}
		statuses[1].Observe(errDown, 1, 1) // without a new view
		second := make(map[string]int)
		for i, was := range before {
			now := sel.Select(nil, withKey(fmt.Sprint(i)), nil).Dial
			if was != "u1" && now != was {
				t.Fatalf("%s: a key of %s moved to %s while u1 was down", name, was, now)
			}
			if was == "u1" {
				second[now]++
				if again := sel.Select(nil, withKey(fmt.Sprint(i)), nil).Dial; again != now {
					t.Fatalf("%s: second choices differ: %s and %s", name, now, again)
				}
			}
		}
		if len(second) != 4 || second["u1"] > 0 {
			t.Errorf("%s: the keys of the backend that was down went to %v", name, second)
		}
	}
}

// The fallback, by default wrr, serves requests without the key.
func TestFallbackTakesTurns(t *testing.T) {
	for name := range tables {
		sel, _, _ := fixedPool(t, name, "header X-Key", "", 4)
		for u, n := range counts(picks(sel, nil, 400)) {
			if n != 100 {
				t.Errorf("%s: %s got %d of 400 requests without a key", name, u, n)
			}
		}
		first := sel.Select(nil, withKey("k"), nil)
		for range 100 {
			if sel.Select(nil, withKey("k"), nil) != first {
				t.Fatalf("%s: one key went to two backends", name)
			}
		}
	}
}

// With keys that follow Zipf's law and backends that take a second, no pick gives a backend more
// than ceil(c x average) in flight. Without the bound the same load far exceeds it.
func TestBoundedLoad(t *testing.T) {
	const backends, factor = 8, 1.25
	run := func(t *testing.T, name, bound string) (worst float64) {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			inFlight, total := make(map[string]int), 0
			serve := func(r *http.Request) (int, error) {
				info, _ := reverseproxy.GetDialInfo(r.Context())
				mu.Lock()
				inFlight[info.Address]++
				total++
				average := float64(total) / backends
				worst = max(worst, float64(inFlight[info.Address])-math.Ceil(factor*average))
				mu.Unlock()
				time.Sleep(time.Second)
				mu.Lock()
				inFlight[info.Address]--
				total--
				mu.Unlock()
				return http.StatusOK, nil
			}
			all, config := make(lbtest.Backends), ""
			for i := range backends {
				dial := fmt.Sprintf("u%d:1", i)
				all[dial] = serve
				if i > 0 {
					config += ","
				}
				config += fmt.Sprintf(`{"dial":%q}`, dial)
			}
			p := lbtest.NewProxy(t, `{"transport":{"protocol":"lbtest"},"load_balancing":{"selection_policy":
				{"policy":"`+name+`","key":"header","key_name":"X-Key"`+bound+`}},"upstreams":[`+config+`]}`, all)
			zipf := weakrand.NewZipf(weakrand.New(weakrand.NewPCG(1, 2)), 1.1, 1, 1000)
			var wg sync.WaitGroup
			for range 3000 {
				req := httptest.NewRequest(http.MethodGet, "http://lbtest/", nil)
				req.Header.Set("X-Key", fmt.Sprint(zipf.Uint64()))
				wg.Go(func() {
					if _, err := p.Do(req); err != nil {
						t.Error(err)
					}
				})
				time.Sleep(10 * time.Millisecond)
			}
			wg.Wait()
		})
		return worst
	}
	for name := range tables {
		if worst := run(t, name, `,"bounded_load":1.25`); worst > 0 {
			t.Errorf("%s: a backend had %v above the bound", name, worst)
		}
		if worst := run(t, name, ""); worst < 5 {
			t.Errorf("%s: without the bound at most %v above it, so the test proves nothing", name, worst)
		}
	}
}

// The fallback has its own list, but the proxy must look backends up in the list of the policy,
// since that records which were tried.
func TestFallbackKeepsTheList(t *testing.T) {
	for name := range tables {
		for _, fallback := range lbtest.KeylessPolicies() {
			met := make(map[string]int)
			refuse := func(req *http.Request) (int, error) {
				info, _ := reverseproxy.GetDialInfo(req.Context())
				met[info.Address]++
				return lbtest.Refused(req)
			}
			p := lbtest.NewProxy(t, `{"transport":{"protocol":"lbtest"},"load_balancing":{"retries":3,"selection_policy":
				{"policy":"`+name+`","key":"header","key_name":"X-Key","fallback":{"policy":"`+fallback+`"}}},
				"upstreams":[{"dial":"a:1"},{"dial":"b:1"},{"dial":"c:1"},{"dial":"d:1"}]}`,
				lbtest.Backends{"a:1": refuse, "b:1": refuse, "c:1": refuse, "d:1": refuse})
			for i := range 20 {
				clear(met)
				req := httptest.NewRequest(http.MethodGet, "http://lbtest/", nil)
				if i%2 == 0 {
					req.Header.Set("X-Key", fmt.Sprint(i))
				}
				_, _ = p.Do(req)
				if len(met) != 4 {
					t.Fatalf("%s with fallback %s: 4 attempts went to %v", name, fallback, met)
				}
			}
		}
	}
}

// Two instances map keys alike, and so do a pool and a list with the same ids.
func TestInstancesAgree(t *testing.T) {
	for name := range tables {
		a, _, _ := fixedPool(t, name, "header X-Key", "", 7)
		b := provisioned(t, policies(t)[name], name+" header X-Key")
		list := upstreams(7)
		slices.Reverse(list)
		for i := range 1000 {
			x, y := a.Select(nil, withKey(fmt.Sprint(i)), nil), b.Select(list, withKey(fmt.Sprint(i)), nil)
			if x.Dial != y.Dial {
				t.Fatalf("%s: one instance picked %s, another %s", name, x.Dial, y.Dial)
			}
		}
	}
}

func TestKeyIsHashedWithoutAllocating(t *testing.T) {
	for _, config := range []string{"client_ip", "uri", "path", "host", "header X-Key", "header Missing", "query q", "cookie sid"} {
		sel := inPool(t, func() caddy.Module { return new(Maglev) }, "maglev "+config+" {\n bounded_load 1.25\n}", poolOf(upstreams(9)))
		req := httptest.NewRequest(http.MethodGet, "http://example.com:80/a/b?x=%20&q=1", nil)
		req.Header["X-Key"] = []string{"a", "b"}
		req.Header.Set("Cookie", `a=b; sid="12"`)
		req = lbtest.Prepare(req, caddy.NewReplacer(), httptest.NewRecorder())
		if n := testing.AllocsPerRun(100, func() { sel.Select(nil, req, nil) }); n > 0 {
			t.Errorf("%s: %v allocations", config, n)
		}
	}
}
