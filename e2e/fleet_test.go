// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// redisCaddy returns a Caddy with Ballast and the store on Redis, which is built once.
func redisCaddy(t testing.TB) string {
	t.Helper()
	redisCaddyOnce.Do(func() {
		binary, err := filepath.Abs(filepath.Join(filepath.Dir(caddyBinary), "caddy-redis"))
		if err != nil {
			t.Fatal(err)
		}
		args := []string{"build", "-C", filepath.Join(repository, "redisstore"), "-o", binary}
		if raceDetector {
			args = append(args, "-race")
		}
		if out, err := exec.Command("go", append(args, "./cmd/caddy")...).CombinedOutput(); err != nil {
			t.Fatalf("building caddy: %v\n%s", err, out)
		}
		redisCaddyBinary = binary
	})
	return redisCaddyBinary
}

var (
	redisCaddyOnce   sync.Once
	redisCaddyBinary string
)

// needRedis returns the program, or skips the test where there is none.
func needRedis(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("there is no Redis here, so it is not tested with one; its package is redis-server")
	}
	return path
}

// startRedis starts a Redis that ends with the test.
func startRedis(t testing.TB) (address string) {
	t.Helper()
	path := needRedis(t)
	port := fmt.Sprint(freePort(t))
	address = "127.0.0.1:" + port
	cmd := exec.Command(path, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // it ends with the tests
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	eventually(t, "Redis answers", func() bool {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return address
}

// fleetTest is three Caddys that share a Redis, before three backends.
type fleetTest struct {
	t      testing.TB
	client *http.Client
	caddys []*caddyProcess
	ports  []int
	global []string
	sites  []string
}

func newFleetTest(t testing.TB, redis, backends string) *fleetTest {
	f := &fleetTest{t: t, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: soon}}
	t.Cleanup(f.client.CloseIdleConnections)
	for i := range 3 {
		port := freePort(t)
		f.ports = append(f.ports, port)
		f.global = append(f.global, fmt.Sprintf("ballast {\nfleet {\nid caddy%d\nwait 10s\nstore redis %s\n}\npool web {\nto %s\n}\n}", i, redis, backends))
		f.sites = append(f.sites, fmt.Sprintf(`http://127.0.0.1:%d {
			bind 127.0.0.1
			pool_register /register web {
				allow 127.0.0.0/8
				ttl 1m
			}
			reverse_proxy {
				dynamic pool web
				lb_policy sticky {
					header X-User
				}
				lb_retries 2
			}
			header >X-Session {http.ballast.session}
		}`, port))
		c := &caddyProcess{t: t, admin: freeAddress(t), dir: t.TempDir(), binary: redisCaddy(t)}
		t.Cleanup(c.stop)
		f.caddys = append(f.caddys, c)
		c.start(f.global[i], f.sites[i])
	}
	return f
}

// get sends a request of a user to an instance, and returns who has answered.
func (f *fleetTest) get(instance int, user string) (backend, session string, err error) {
	req, err := http.NewRequest(http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", f.ports[instance]), nil)
	if err != nil {
		return "", "", err
	}
	req.Header.Set("X-User", user)
	res, err := f.client.Do(req)
	if err != nil {
		return "", "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", res.StatusCode, body)
	}
	return string(body), res.Header.Get("X-Session"), err
}

// must is get without an error.
func (f *fleetTest) must(instance int, user string) (backend, session string) {
	f.t.Helper()
	backend, session, err := f.get(instance, user)
	if err != nil {
		f.t.Fatal(err)
	}
	return backend, session
}

// delays are how long changes took to be seen.
type delays []time.Duration

// until adds the time until cond holds.
func (d *delays) until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	began := time.Now()
	for !cond() {
		if time.Since(began) > soon {
			t.Fatalf("not within %v: %s", soon, what)
		}
		<-time.After(2 * time.Millisecond)
	}
	*d = append(*d, time.Since(began))
}

// String returns quantiles.
func (d delays) String() string {
	sorted := slices.Sorted(slices.Values(d))
	if len(sorted) == 0 {
		return "none"
	}
	at := func(q float64) time.Duration {
		return sorted[int(q*float64(len(sorted)-1))].Round(100 * time.Microsecond)
	}
	return fmt.Sprintf("n %d, p50 %v, p99 %v, max %v", len(sorted), at(0.5), at(0.99), at(1))
}

// rate is how many requests a second there are. The race detector makes Caddy slower by a multiple.
func rate() int {
	if raceDetector {
		return 150
	}
	return 500
}

// Three Caddys and a Redis, under load: sessions, drains and registrations of one are known to all, none
// is lost with an instance that dies, and no request fails. The log has how long it took.
func TestFleet(t *testing.T) {
	redis := startRedis(t)
	three, to := startThree(t)
	f := newFleetTest(t, redis, to)
	extra := startScripted(t, freeAddress(t), nil)
	var users atomic.Int64
	l := startRequests(t, rate(), func() (string, error) {
		backend, _, err := f.get(rand.IntN(2)+1, fmt.Sprint("crowd ", users.Add(1)%500)) // not the one that dies
		return backend, err
	})
	eventually(t, "all backends answer", func() bool { return len(l.counts()) == 3 })
	began, before := time.Now(), l.answered()
	t.Logf("sessions are known elsewhere after: %v", f.sessions())
	t.Logf("drains are known everywhere after: %v", f.drains(three[0].address))
	t.Logf("registrations are known everywhere after: %v", f.registrations(extra.address))
	f.dies(three[0].address, extra.address)
	t.Logf("%.0f requests a second were answered meanwhile", float64(l.answered()-before)/time.Since(began).Seconds())
	l.stop()
	l.mustNotFail()
}

// backend returns what an instance says of a backend, and whether it has it.
func (f *fleetTest) backend(instance int, address string) (state string, member bool) {
	f.t.Helper()
	status, answer := f.caddys[instance].operate(http.MethodGet, webBackends+"/"+address, "")
	state, _ = answer["state"].(string)
	return state, status == http.StatusOK
}

// everywhere reports whether cond holds on all instances.
func (f *fleetTest) everywhere(cond func(instance int) bool) bool {
	for i := range f.caddys {
		if !cond(i) {
			return false
		}
	}
	return true
}

// setState has an operator change a backend's state on one instance.
func (f *fleetTest) setState(instance int, address, state string) {
	f.t.Helper()
	f.caddys[instance].must(http.StatusOK, http.MethodPatch, webBackends+"/"+address, fmt.Sprintf(`{"state":%q}`, state))
}

// drains drains a backend on one instance after the other, and makes it ready again.
func (f *fleetTest) drains(address string) (seen delays) {
	f.t.Helper()
	for i := range 20 {
		for state, shown := range map[string]string{"drain": "drain", "ready": "up"} {
			f.setState(i%3, address, state)
			seen.until(f.t, "all instances know the state "+state, func() bool {
				return f.everywhere(func(i int) bool { is, _ := f.backend(i, address); return is == shown })
			})
		}
	}
	return seen
}

// register has a backend register itself with an instance, or deregister.
func (f *fleetTest) register(instance int, method, address string) {
	f.t.Helper()
	req, err := http.NewRequest(method, fmt.Sprintf("http://127.0.0.1:%d/register", f.ports[instance]), strings.NewReader(fmt.Sprintf(`{"address":%q}`, address)))
	if err != nil {
		f.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := f.client.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer res.Body.Close()
	if body, _ := io.ReadAll(res.Body); res.StatusCode >= 300 {
		f.t.Fatalf("%s of %s: status %d, %s", method, address, res.StatusCode, body)
	}
}

// registrations registers a backend with one instance after the other, and deregisters it with the next.
func (f *fleetTest) registrations(address string) (seen delays) {
	f.t.Helper()
	for i := range 20 {
		f.register(i%3, http.MethodPost, address)
		seen.until(f.t, "all instances have the backend", func() bool {
			return f.everywhere(func(i int) bool { _, is := f.backend(i, address); return is })
		})
		f.register((i+1)%3, http.MethodDelete, address)
		seen.until(f.t, "no instance has the backend", func() bool {
			return f.everywhere(func(i int) bool { _, is := f.backend(i, address); return !is })
		})
	}
	return seen
}

// sessions begins sessions on one instance, which continue on the others. Another instance that binds a
// session in the same moment may win; soon all agree.
func (f *fleetTest) sessions() (seen delays) {
	f.t.Helper()
	homes := make(map[string]string)
	for i := range 150 {
		user := fmt.Sprint("user ", i)
		f.must(i%3, user)
		other := (i + 1 + i/3%2) % 3
		seen.until(f.t, "another instance knows the session", func() bool {
			backend, _ := f.must(other, user)
			homes[user], _ = f.must(i%3, user)
			return backend == homes[user]
		})
	}
	eventually(f.t, "all instances agree", func() bool {
		for user := range homes {
			homes[user], _ = f.must(0, user)
			for i := range f.caddys {
				if backend, _ := f.must(i, user); backend != homes[user] {
					return false
				}
			}
		}
		return true
	})
	for i := range f.caddys {
		f.kept(i, homes)
	}
	return seen
}

// kept checks that all users are with their backends on an instance.
func (f *fleetTest) kept(instance int, homes map[string]string) {
	f.t.Helper()
	for user, home := range homes {
		if backend, session := f.must(instance, user); backend != home || session != "kept" {
			f.t.Errorf("%s is at %s (%s) on instance %d, and began at %s", user, backend, session, instance, home)
		}
	}
}

// dies has an instance die without a word. The sessions that have begun there go on, and a drain and a
// registration hold, also on the instance that follows it, from its first request on.
func (f *fleetTest) dies(drained, registered string) {
	f.t.Helper()
	homes := make(map[string]string)
	for i := range 50 {
		user := fmt.Sprint("orphan ", i)
		homes[user], _ = f.must(0, user)
	}
	f.setState(0, drained, "drain")
	f.register(0, http.MethodPost, registered)
	eventually(f.t, "all that was begun has left the instance", func() bool {
		pending := f.caddys[0].must(http.StatusOK, http.MethodGet, "fleet", "")["pending"]
		state, _ := f.backend(1, drained)
		_, member := f.backend(1, registered)
		return state == "drain" && member && pending == 0.0
	})
	f.caddys[0].kill()
	f.caddys[0].start(f.global[0], f.sites[0])
	for i := range f.caddys {
		f.kept(i, homes)
		if state, _ := f.backend(i, drained); state != "drain" {
			f.t.Errorf("instance %d: %s is %s, and was drained", i, drained, state)
		}
		if _, member := f.backend(i, registered); !member {
			f.t.Errorf("instance %d: the registration of %s is lost", i, registered)
		}
	}
}
