// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
	"github.com/ballast-lb/caddy-ballast/internal/clock"
	"github.com/ballast-lb/caddy-ballast/internal/health"
	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
	"github.com/ballast-lb/caddy-ballast/internal/membership"
	"github.com/ballast-lb/caddy-ballast/internal/outlier"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

func init() { caddy.RegisterModule(new(memoryStorageModule)) }

// memoryStorage is a storage in memory that outlives configurations.
type memoryStorage struct {
	mu            sync.Mutex
	files         map[string][]byte
	modified      map[string]time.Time
	stores, loads int
	broken        error
	hangs         bool // until the caller has enough
}

var vaults sync.Map // by test

// newMemoryStorage gives a test a storage, and an instance of Caddy that is new.
func newMemoryStorage(t *testing.T) *memoryStorage {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	v := &memoryStorage{files: make(map[string][]byte), modified: make(map[string]time.Time)}
	vaults.Store(t.Name(), v)
	return v
}

func (v *memoryStorage) enter(ctx context.Context) (func(), error) {
	v.mu.Lock()
	hangs := v.hangs
	v.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return func() {}, ctx.Err()
	}
	v.mu.Lock()
	return v.mu.Unlock, v.broken
}

func (v *memoryStorage) Store(ctx context.Context, key string, value []byte) error {
	leave, err := v.enter(ctx)
	defer leave()
	if err != nil {
		return err
	}
	v.stores++
	v.files[key], v.modified[key] = slices.Clone(value), time.Now()
	return nil
}

func (v *memoryStorage) Load(ctx context.Context, key string) ([]byte, error) {
	leave, err := v.enter(ctx)
	defer leave()
	if err != nil {
		return nil, err
	}
	v.loads++
	if data, ok := v.files[key]; ok {
		return slices.Clone(data), nil
	}
	return nil, fs.ErrNotExist
}

func (v *memoryStorage) Delete(_ context.Context, key string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.files, key)
	return nil
}

func (v *memoryStorage) List(_ context.Context, prefix string, _ bool) (keys []string, _ error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for key := range v.files {
		if strings.HasPrefix(key, prefix+"/") {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

func (v *memoryStorage) Stat(_ context.Context, key string) (certmagic.KeyInfo, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return certmagic.KeyInfo{Key: key, Modified: v.modified[key], IsTerminal: true}, nil
}

func (v *memoryStorage) Exists(context.Context, string) bool  { return false }
func (v *memoryStorage) Lock(context.Context, string) error   { return nil }
func (v *memoryStorage) Unlock(context.Context, string) error { return nil }
func (v *memoryStorage) set(f func())                         { v.mu.Lock(); defer v.mu.Unlock(); f() }
func (v *memoryStorage) keys() []string                       { return slices.Sorted(maps.Keys(v.files)) }
func (v *memoryStorage) written(t *testing.T, want int, reason string) {
	v.count(t, want, want, reason)
}

func (v *memoryStorage) count(t *testing.T, least, most int, reason string) {
	t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.stores < least || v.stores > most {
		t.Errorf("%s: written %d times, want %d to %d", reason, v.stores, least, most)
	}
}

// only returns the one file.
func (v *memoryStorage) only(t *testing.T) (key, data string) {
	t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.files) != 1 {
		t.Fatalf("the storage has %v, want one file", v.keys())
	}
	key = v.keys()[0]
	return key, string(v.files[key])
}

type memoryStorageModule struct {
	Name string `json:"name,omitempty"`
}

func (*memoryStorageModule) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.storage.vault", New: func() caddy.Module { return new(memoryStorageModule) }}
}

func (m *memoryStorageModule) CertMagicStorage() (certmagic.Storage, error) {
	v, _ := vaults.Load(m.Name)
	return v.(*memoryStorage), nil
}

// kept returns a configuration of the ballast app with persist, and its storage.
func kept(t *testing.T, pools string) caddy.ModuleMap {
	return caddy.ModuleMap{
		"ballast": json.RawMessage(`{"persist":true,"pools":{` + pools + `}}`),
		"storage": json.RawMessage(fmt.Sprintf(`{"module":"vault","name":%q}`, t.Name())),
	}
}

// member returns a backend of the pool web.
func member(t *testing.T, address string) *backend.Backend {
	t.Helper()
	for _, p := range pool.Pools() {
		if b := p.Find(address); b != nil && p.Name == "web" {
			return b
		}
	}
	t.Fatalf("there is no backend %s", address)
	return nil
}

// operate does what an operator does, and has it count.
func operate(t *testing.T, address string, f func(*backend.Backend)) {
	t.Helper()
	f(member(t, address))
	for _, p := range pool.Pools() {
		p.Publish()
	}
}

func drain(b *backend.Backend) { b.SetAdmin(health.Drain) }

// bad answers 503 while on is true.
func bad(on *bool) lbtest.Answerer {
	return func(*http.Request) (int, error) {
		if *on {
			return http.StatusServiceUnavailable, nil
		}
		return http.StatusOK, nil
	}
}

const webByName = `"name":"web"`

// What is known of backends survives the end of everything.
func TestRestart(t *testing.T) {
	v := newMemoryStorage(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sick["a:1"] = true
		ill := true
		backends := answering("a:1", "b:1", "c:1", "d:1", "e:1", "f:1")
		backends["b:1"], backends["e:1"] = bad(&ill), lbtest.Latency(4*time.Millisecond)
		start := func() *lbtest.Proxy {
			p, err := lbtest.Load(t, kept(t, `"web":{`+dials("a:1", "b:1", "c:1", "d:1", "e:1", "f:1")+","+check(t, "")+`}`), proxy("wrr", webByName), backends)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		p := start()
		seconds(1)
		for range 60 { // b:1 is ejected
			_, _ = p.Get()
		}
		operate(t, "c:1", drain)
		operate(t, "d:1", func(b *backend.Backend) { b.SetWeight(&health.AgentWeight{Value: 2}) })
		seconds(4)
		served(t, p, 20)
		slow, left := member(t, "e:1").Header.Value(clock.Now(), time.Second), member(t, "b:1").EjectionReport()
		if left.State != outlier.Ejected || math.Abs(slow/4e6-1) > 0.01 {
			t.Fatalf("%+v, and an average of %v ns", left, slow)
		}
		p.Close()
		if n := len(pool.Pools()); n != 0 {
			t.Fatalf("%d pools go on", n)
		}
		seconds(5)
		w.set(func() { w.sick["a:1"], ill = false, false })

		p = start()
		if b := member(t, "a:1"); b.Up() {
			t.Error("a:1 has come up without a probe")
		}
		if got := member(t, "b:1").EjectionReport(); got.State != outlier.Ejected || (got.Until-left.Until).Abs() > time.Second || got.Reason != left.Reason || got.Times != 1 {
			t.Errorf("b:1 is %+v, was %+v", got, left)
		}
		if got := member(t, "e:1").Header.Value(clock.Now(), time.Second); math.Abs(got/slow-1) > 0.05 {
			t.Errorf("e:1 takes %v ns, and took %v", got, slow)
		}
		if got := served(t, p, 80); len(got) != 3 || got["d:1"] < 38 || got["d:1"] > 42 {
			t.Errorf("served by %v", got)
		}
		seconds(3)
		if b := member(t, "a:1"); !b.Up() {
			t.Error("a:1 passes its probes and is not up")
		}
		seconds((left.Until - clock.Now()).Seconds() + 1)
		served(t, p, 1) // the trial
		seconds(1)
		expectServed(t, p, "a:1", "b:1", "d:1", "e:1", "f:1")
		if got := p.Logged("backend"); !slices.Equal(got, []string{"backend is up a:1", "backend has returned b:1"}) {
			t.Errorf("logged %q", got)
		}
		if key, data := v.only(t); !strings.HasPrefix(key, "ballast/state/") || !strings.Contains(data, `"version":1`) {
			t.Errorf("%s holds %s", key, data)
		}
	})
	lbtest.NoLeaks(t)
}

// What was learned counts for ten minutes, and what an operator did for good.
func TestRestartLater(t *testing.T) {
	for _, tt := range []struct {
		down       time.Duration
		learned    bool
		persistent bool
	}{
		{9*time.Minute + 50*time.Second, true, true},
		{10*time.Minute + time.Second, false, true},
		{100 * 24 * time.Hour, false, true},
		{time.Second, false, false},
	} {
		t.Run(tt.down.String(), func(t *testing.T) {
			newMemoryStorage(t)
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.sick["a:1"] = true
				pools := `"web":{` + dials("a:1", "b:1", "c:1") + "," + check(t, "") + `}`
				p := load(t, kept(t, pools), proxy("wrr", webByName))
				operate(t, "b:1", drain)
				operate(t, "c:1", func(b *backend.Backend) { b.Header.Observe(clock.Now(), time.Second, time.Second) })
				seconds(200) // nothing changes after the first seconds
				p.Close()
				time.Sleep(tt.down)
				w.set(func() { w.sick["a:1"] = false })
				apps := kept(t, pools)
				if !tt.persistent {
					delete(apps, "ballast")
					apps["ballast"] = app(pools)["ballast"]
				}
				load(t, apps, proxy("wrr", webByName))
				if got := !member(t, "a:1").Up(); got != tt.learned {
					t.Errorf("down is %v, want %v", got, tt.learned)
				}
				if got := member(t, "c:1").Header.Value(clock.Now(), time.Second) > 0; got != tt.learned {
					t.Errorf("a latency is known: %v, want %v", got, tt.learned)
				}
				if got := member(t, "b:1").AdminState() == health.Drain; got != tt.persistent {
					t.Errorf("drained is %v, want %v", got, tt.persistent)
				}
			})
		})
	}
}

// A process that dies without a word leaves what was true a while before.
func TestCrash(t *testing.T) {
	v := newMemoryStorage(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sick["a:1"] = true
		config := kept(t, `"web":{`+dials("a:1", "b:1")+","+check(t, "")+`}`)
		p := load(t, config, proxy("wrr", webByName))
		seconds(3600)
		var left map[string][]byte
		v.set(func() { left = maps.Clone(v.files) })
		p.Close()
		v.set(func() { v.files = left })
		seconds(240)
		load(t, config, proxy("wrr", webByName))
		if member(t, "a:1").Up() {
			t.Error("it was down for an hour, and is not after four minutes without Caddy")
		}
	})
}

// What cannot be used is ignored, said once, and kept in another file before it is replaced.
func TestUnusableState(t *testing.T) {
	newMemoryStorage(t)
	var key string
	synctest.Test(t, func(t *testing.T) {
		newWorld(t)
		v := newMemoryStorageOf(t)
		config := kept(t, `"web":{`+dials("a:1")+","+check(t, "")+`}`)
		p := load(t, config, proxy("wrr", webByName))
		seconds(3)
		p.Close()
		key, _ = v.only(t)
		copied := strings.TrimSuffix(key, ".json") + ".unusable.json"
		for state, reason := range map[string]string{
			"":                       "the file is empty",
			"{":                      "unexpected end of JSON input",
			`{"version":2}`:          "version 2 is not supported, only 1",
			"\x00\xff":               "invalid character '\\x00' looking for beginning of value",
			strings.Repeat("[", 1e5): "exceeded max depth",
		} {
			v.set(func() { v.files[key] = []byte(state) })
			p := load(t, config, proxy("wrr", webByName))
			expectServed(t, p, "a:1")
			seconds(3)
			got := p.Logged("key", "error")
			if len(got) != 2 || !strings.Contains(got[0], "saved backend state is unusable; starting without it "+key) || !strings.Contains(got[0], reason) ||
				!strings.Contains(got[1], "kept the unusable backend state in another file "+copied) {
				t.Errorf("%.20q: logged %q, want two lines, one with %s", state, got, reason)
			}
			v.set(func() {
				if !strings.Contains(string(v.files[key]), `"up":true`) || string(v.files[copied]) != state || len(v.files) != 2 {
					t.Errorf("%.20q was not replaced and kept: %.100s", state, v.files)
				}
			})
			p.Close()
		}
	})
	lbtest.NoLeaks(t)
}

// newMemoryStorageOf returns the storage of the test.
func newMemoryStorageOf(t *testing.T) *memoryStorage {
	v, _ := vaults.Load(t.Name())
	return v.(*memoryStorage)
}

// Configurations that are validated or rejected write nothing and change
// nothing.
func TestRejectedReloadKeepsWhatIsKept(t *testing.T) {
	v := newMemoryStorage(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sick["a:1"] = true
		good := `"web":{` + dials("a:1", "b:1") + "," + check(t, "") + `}`
		other := `"other":{` + dials("c:1") + "," + check(t, "") + `}`

		// When nothing runs: one is rejected after it was started.
		rejected := load(t, kept(t, good), proxy("wrr", webByName))
		seconds(1.9)
		rejected.Close()
		if v.written(t, 0, "rejected at first"); len(v.files) != 0 {
			t.Errorf("the storage has %v", v.keys())
		}
		if _, err := os.Stat(filepath.Join(caddy.AppDataDir(), "instance.uuid")); err == nil {
			t.Error("the instance got an id")
		}

		p := load(t, kept(t, good), proxy("wrr", webByName))
		operate(t, "b:1", func(b *backend.Backend) { b.SetWeight(&health.AgentWeight{Value: 3}) })
		seconds(3)
		v.written(t, 1, "accepted")
		_, before := v.only(t)
		for i := range 10 {
			if _, err := lbtest.Load(t, kept(t, other), proxy("", `"name":"nope"`), abc); err == nil {
				t.Fatal("accepted")
			}
			rejected := load(t, kept(t, other), proxy("wrr", `"name":"other"`))
			seconds(1.7) // also when it is time to save
			rejected.Close()
			if _, now := v.only(t); now != before {
				t.Fatalf("%d: %s, before %s", i, now, before)
			}
		}
		v.written(t, 1, "rejected")
		expectServed(t, p, "b:1")
		seconds(11)
		p.Close()
		if _, now := v.only(t); !strings.Contains(now, `"value":3`) || strings.Contains(now, "other") {
			t.Errorf("at the end: %s", now)
		}
	})
	lbtest.NoLeaks(t)
}

// Around a reload one configuration saves: the new one, once it is there to
// stay. What an operator did since the last save is not undone.
func TestReloadKeepsSaving(t *testing.T) {
	v := newMemoryStorage(t)
	synctest.Test(t, func(t *testing.T) {
		newWorld(t)
		pools := `"web":{` + dials("a:1", "b:1") + "," + check(t, "") + `}`
		old := load(t, kept(t, pools), proxy("wrr", webByName))
		operate(t, "a:1", drain)
		seconds(3)
		v.written(t, 1, "the first save")
		operate(t, "a:1", func(b *backend.Backend) { b.SetAdmin(health.Ready) })
		operate(t, "b:1", drain)
		p := load(t, kept(t, strings.Replace(pools, "b:1", "b:1\",\"id\":\"b", 1)), proxy("wrr", webByName))
		old.Close()
		v.written(t, 1, "the old configuration has gone")
		expectServed(t, p, "a:1")
		seconds(20)
		if v.count(t, 2, 3, "the new configuration saves"); v.loads != 0 {
			t.Errorf("read %d times, by a process that knows better", v.loads)
		}

		// A storage that is new with a configuration gets all of it.
		dir := t.TempDir()
		elsewhere := kept(t, pools)
		elsewhere["storage"] = json.RawMessage(fmt.Sprintf(`{"module":"file_system","root":%q}`, dir))
		old, p = p, load(t, elsewhere, proxy("wrr", webByName))
		old.Close()
		seconds(20)
		if files, _ := filepath.Glob(filepath.Join(dir, "ballast/state/*.json")); len(files) != 1 {
			t.Errorf("%s has %v", dir, files)
		}
		p.Close()

		p = load(t, kept(t, pools), proxy("wrr", webByName))
		expectServed(t, p, "a:1")
		// Without persist from now on, and with it again: this process knows best.
		without := load(t, app(pools), proxy("wrr", webByName))
		p.Close()
		operate(t, "b:1", func(b *backend.Backend) { b.SetAdmin(health.Ready) })
		seconds(60)
		p = load(t, kept(t, pools), proxy("wrr", webByName))
		without.Close()
		expectServed(t, p, "a:1", "b:1")
	})
	lbtest.NoLeaks(t)
}

// A storage that fails, or hangs, disturbs nobody, and is said to fail once.
func TestStorageFails(t *testing.T) {
	v := newMemoryStorage(t)
	synctest.Test(t, func(t *testing.T) {
		newWorld(t)
		config := kept(t, `"web":{`+dials("a:1", "b:1")+","+check(t, "")+`}`)
		v.broken = errors.New("no route to Redis")
		p := load(t, config, proxy("wrr", webByName))
		operate(t, "a:1", drain)
		seconds(60)
		expectServed(t, p, "b:1")
		v.set(func() { v.broken, v.hangs = nil, true })
		seconds(60)
		expectServed(t, p, "b:1")
		v.set(func() { v.hangs = false })
		seconds(20)
		if _, data := v.only(t); !strings.Contains(data, "drain") {
			t.Errorf("the storage has %s", data)
		}
		got, want := p.Logged("error"), []string{
			"saving backend state failed; retrying no route to Redis",
			"saving backend state works again <nil>",
		}
		if !slices.Equal(got, want) {
			t.Errorf("logged %q, want %q", got, want)
		}

		v.set(func() { v.hangs = true })
		operate(t, "b:1", drain)
		before, key, saved := time.Now(), "", ""
		p.Close()
		v.set(func() { key = v.keys()[0]; saved = string(v.files[key]) })
		p = load(t, config, proxy("wrr", webByName))
		if took := time.Since(before); took > 11*time.Second {
			t.Errorf("a storage that hangs stops Caddy for %v", took)
		}
		if got := p.Logged(); len(got) != 1 || !strings.Contains(got[0], "state is unusable") {
			t.Errorf("logged %q", got)
		}
		expectServed(t, p, "a:1", "b:1")
		v.set(func() { v.hangs = false })
		seconds(20) // it is saved again
		v.set(func() {
			if copied := string(v.files[strings.TrimSuffix(key, ".json")+".unusable.json"]); copied != saved || string(v.files[key]) == saved {
				t.Errorf("the state that could not be read was replaced without a copy: %q", copied)
			}
		})
	})
	lbtest.NoLeaks(t)
}

// Who asks for what cannot be kept is told so, and it holds until the restart.
func TestWhatIsNotKeptIsSaid(t *testing.T) {
	v := newMemoryStorage(t)
	synctest.Test(t, func(t *testing.T) {
		newWorld(t)
		p := load(t, kept(t, `"web":{`+dials("a:1", "b:1")+`}`), proxy("wrr", webByName))
		m, state, weight := pool.Current("web").Manager(), health.Drain, 3
		changes := []func() (*backend.Backend, error){
			func() (*backend.Backend, error) { return m.Add(membership.Addition{Address: "c:1"}) },
			func() (*backend.Backend, error) {
				return m.Change("a:1", membership.Change{Admin: &state, Weight: &membership.Override{Value: &weight}})
			},
			func() (*backend.Backend, error) { return m.Remove("b:1", membership.Removal{}) },
		}
		for i, trouble := range []func(){
			func() { v.broken = errors.New("no space left on device") },
			func() { v.broken = fs.ErrPermission },
			func() { v.broken, v.hangs = nil, true },
		} {
			v.set(trouble)
			if b, err := changes[i](); b == nil || !errors.Is(err, membership.ErrNotKept) {
				t.Errorf("%d: %v, %v", i, b, err)
			} else if i < 2 && !strings.Contains(err.Error(), v.broken.Error()) {
				t.Errorf("%d: it is not said why: %v", i, err)
			}
		}
		expectServed(t, p, "c:1")
		v.set(func() { v.hangs = false })
		seconds(5) // for which it is asked
		state = health.Ready
		if _, err := m.Change("a:1", membership.Change{Admin: &state}); err != nil {
			t.Errorf("the storage works again: %v", err)
		}
		p.Close()
		p = load(t, kept(t, `"web":{`+dials("a:1", "b:1")+`}`), proxy("wrr", webByName))
		expectServed(t, p, "a:1", "c:1")
		p.Close()
	})
	lbtest.NoLeaks(t)
}

// A pool that nothing happens to is written to say that it is still true, and
// one that nothing is known of not at all.
func TestIdlePoolsAreNotWritten(t *testing.T) {
	v := newMemoryStorage(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := load(t, kept(t, `"web":{`+dials("a:1", "b:1")+`}`), proxy("wrr", webByName))
		seconds(3600)
		p.Close()
		v.written(t, 0, "nothing is known")

		w.sick["a:1"] = true
		p = load(t, kept(t, `"web":{`+dials("a:1", "b:1")+","+check(t, "")+`}`), proxy("wrr", webByName))
		served(t, p, 60)
		seconds(15)
		v.count(t, 1, 2, "a little has happened")
		v.set(func() { v.stores = 0 })
		seconds(280)
		v.written(t, 0, "nothing happens")
		seconds(3600 - 280)
		v.count(t, 11, 14, "an hour") // the averages have become too old
		p.Close()
	})
}

func TestNothingIsKeptWithoutPersist(t *testing.T) {
	v := newMemoryStorage(t)
	synctest.Test(t, func(t *testing.T) {
		newWorld(t)
		apps := app(`"web":{` + dials("a:1", "b:1") + "," + check(t, "") + `}`)
		apps["storage"] = kept(t, "")["storage"]
		p := load(t, apps, proxy("wrr", webByName))
		operate(t, "a:1", drain)
		served(t, p, 60)
		seconds(60)
		p.Close()
		if v.written(t, 0, "without persist"); v.loads != 0 || len(v.files) != 0 {
			t.Errorf("read %d times, and there is %v", v.loads, v.keys())
		}
	})
}

// A backend that is gone for a while keeps what is known of it, through
// restarts.
func TestBackendThatIsGoneForAWhile(t *testing.T) {
	v := newMemoryStorage(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.found = []string{"b:1"}
		w.sick["b:1"] = true
		config := kept(t, `"web":{`+dials("a:1")+`,"sources":[{"source":"fake","world":"`+t.Name()+`","refresh":60000000000}],`+strings.Replace(check(t, ""), `"1s"`, `"1m"`, 1)+`}`)
		p := load(t, config, proxy("wrr", webByName))
		seconds(1)
		operate(t, "b:1", drain)
		seconds(15)
		leave := func(away time.Duration) {
			w.set(func() { w.found = nil })
			seconds(61)
			if p.Close(); pool.Pools() != nil {
				t.Fatal("it goes on")
			}
			p = load(t, config, proxy("wrr", webByName))
			time.Sleep(away + 10*time.Second) // between two lookups
			expectServed(t, p, "a:1")
			w.set(func() { w.found, w.sick["b:1"] = []string{"b:1"}, false })
			seconds(61)
		}
		leave(5 * time.Minute)
		if b := member(t, "b:1"); b.AdminState() != health.Drain || b.Up() {
			t.Errorf("after five minutes: %v, up is %v", b.AdminState(), b.Up())
		}
		seconds(15)
		leave(12 * time.Hour)
		if b := member(t, "b:1"); b.AdminState() != health.Drain || !b.Up() {
			t.Errorf("after twelve hours: %v, up is %v", b.AdminState(), b.Up())
		}
		seconds(15)
		leave(25 * time.Hour)
		if b := member(t, "b:1"); b.AdminState() != health.Ready {
			t.Errorf("after a day: %v", b.AdminState())
		}
		seconds(15)
		if _, data := v.only(t); strings.Contains(data, "drain") {
			t.Errorf("it is still kept: %s", data)
		}
	})
	lbtest.NoLeaks(t)
}

// Backends that are found later than the others are not cold because Caddy was
// restarted.
func TestRestartDoesNotMakeBackendsRamp(t *testing.T) {
	for _, persist := range []bool{true, false} {
		t.Run(fmt.Sprint(persist), func(t *testing.T) {
			newMemoryStorage(t)
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.found = []string{"b:1"}
				config := kept(t, `"web":{`+dials("a:1")+`,"sources":[{"source":"fake","world":"`+t.Name()+`","refresh":1000000000}],"slow_start":{"window":"10s"}}`)
				if !persist {
					config["ballast"] = json.RawMessage(strings.Replace(string(config["ballast"]), "true", "false", 1))
				}
				p := load(t, config, proxy("wrr", webByName))
				for range 300 {
					seconds(0.1)
					served(t, p, 10)
				}
				if member(t, "b:1").Ramping() {
					t.Fatal("b:1 is not warm after half a minute")
				}
				p.Close()
				w.slow = 4 * time.Second
				p = load(t, config, proxy("wrr", webByName))
				for range 45 {
					seconds(0.1)
					served(t, p, 10)
				}
				if got := member(t, "b:1").Ramping(); got == persist {
					t.Errorf("ramps: %v, with persist %v", got, persist)
				}
			})
		})
	}
}

// Pools without a name are known again, and no secret of their checks is in what
// is kept.
func TestRestartOfUnnamedPools(t *testing.T) {
	v := newMemoryStorage(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sick["a:1"] = true
		route := proxy("wrr", dials("a:1", "b:1")+","+check(t, `,"header":{"Authorization":"hunter2"}`))
		p := loadAll(t, kept(t, ""), route, route)
		seconds(3)
		p[0].Close()
		if _, data := v.only(t); strings.Contains(data, "hunter2") || strings.Count(data, `"up":false`) != 2 {
			t.Errorf("kept: %s", data)
		}
		w.set(func() { w.sick["a:1"] = false })
		p = loadAll(t, kept(t, ""), route, route)
		expectServed(t, p[0], "b:1")
		expectServed(t, p[1], "b:1")
	})
}

// With outliers off nobody would ever take an ejection back.
func TestRestartWithoutOutliers(t *testing.T) {
	newMemoryStorage(t)
	synctest.Test(t, func(t *testing.T) {
		ill := true
		backends := lbtest.Backends{"a:1": bad(&ill), "b:1": lbtest.Latency(0)}
		start := func(more string) *lbtest.Proxy {
			p, err := lbtest.Load(t, kept(t, `"web":{`+dials("a:1", "b:1")+more+`}`), proxy("wrr", webByName), backends)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		p := start("")
		for range 20 {
			_, _ = p.Get()
		}
		seconds(3)
		if phase := member(t, "a:1").EjectionState(); phase != outlier.Ejected {
			t.Fatalf("a:1 is %v", phase)
		}
		p.Close()
		ill = false
		p = start(`,"outliers":{"off":true}`)
		expectServed(t, p, "a:1", "b:1")
	})
}

// Instances with one storage have a file each, and those that are long gone none.
func TestInstancesShareAStorage(t *testing.T) {
	v := newMemoryStorage(t)
	homes := []string{t.TempDir(), t.TempDir()}
	synctest.Test(t, func(t *testing.T) {
		newWorld(t)
		config := kept(t, `"web":{`+dials("a:1", "b:1")+","+check(t, "")+`}`)
		run := func(home string, want ...string) {
			t.Helper()
			os.Setenv("XDG_DATA_HOME", home) // undone by newVault's
			p := load(t, config, proxy("wrr", webByName))
			defer p.Close()
			expectServed(t, p, want...)
			if home == homes[0] {
				operate(t, "a:1", drain)
			}
			seconds(15)
		}
		run(homes[0], "a:1", "b:1")
		run(homes[1], "a:1", "b:1")
		run(homes[0], "b:1")
		run(homes[1], "a:1", "b:1")
		if len(v.files) != 2 {
			t.Errorf("the storage has %v", v.keys())
		}
		v.set(func() { v.files["ballast/state/README"], v.files["ballast/other.json"] = nil, nil })
		time.Sleep(31 * 24 * time.Hour)
		run(homes[1], "a:1", "b:1")
		if got := v.keys(); len(got) != 3 || !slices.Contains(got, "ballast/state/README") || !slices.Contains(got, "ballast/other.json") {
			t.Errorf("the storage has %v", got)
		}
	})
}

// Caddy's own storage, in files.
func TestRestartOnFileSystem(t *testing.T) {
	newMemoryStorage(t)
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.sick["a:1"] = true
		config := kept(t, `"web":{`+dials("a:1", "b:1")+","+check(t, "")+`}`)
		config["storage"] = json.RawMessage(fmt.Sprintf(`{"module":"file_system","root":%q}`, dir))
		p := load(t, config, proxy("wrr", webByName))
		seconds(3)
		p.Close()
		w.set(func() { w.sick["a:1"] = false })
		p = load(t, config, proxy("wrr", webByName))
		expectServed(t, p, "b:1")
		if files, _ := filepath.Glob(filepath.Join(dir, "ballast/state/*")); len(files) != 1 || !strings.HasSuffix(files[0], ".json") {
			t.Errorf("%s has %v", dir, files)
		}
	})
}
