// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// engine is a server of the part of the Docker Engine API (1.43) that Docker uses, on a Unix socket:
// ContainerList and SystemEvents, with the fields of its reference.
type engine struct {
	host string

	mu         sync.Mutex
	containers map[string]*testContainer
	streams    map[chan string]bool
	fails      bool
	lists      int
	podman     bool
}

// testContainer is a container of an engine.
type testContainer struct {
	name, status string
	labels       map[string]string
	networks     map[string][2]string // IPv4 and IPv6 by name
	ports        []int                // exposed, not published
	paused       bool
	stopping     bool // a state of Podman
}

// newEngine returns an engine without containers.
func newEngine(t *testing.T) *engine {
	path := filepath.Join(t.TempDir(), "docker.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{host: "unix://" + path, containers: make(map[string]*testContainer), streams: make(map[chan string]bool)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containers/json", e.list)
	mux.HandleFunc("GET /events", e.events)
	server := &http.Server{Handler: mux}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return e
}

// matches reports whether a container has the labels of the filters.
func (c *testContainer) matches(req *http.Request) bool {
	var filters map[string][]string
	if err := json.Unmarshal([]byte(req.URL.Query().Get("filters")), &filters); err != nil {
		return false
	}
	for _, l := range filters["label"] {
		key, value, any := strings.Cut(l, "=")
		if got, ok := c.labels[key]; !ok || any && got != value {
			return false
		}
	}
	return true
}

func (e *engine) list(w http.ResponseWriter, req *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lists++
	if e.fails {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = fmt.Fprint(w, `{"message": "the engine is out of order"}`)
		return
	}
	all := []map[string]any{}
	for id, c := range e.containers {
		if !c.matches(req) {
			continue
		}
		networks, ports := map[string]any{}, []map[string]any{}
		for name, ips := range c.networks {
			networks[name] = map[string]any{"IPAddress": ips[0], "GlobalIPv6Address": ips[1], "NetworkID": "x"}
		}
		for _, p := range c.ports {
			ports = append(ports, map[string]any{"PrivatePort": p, "Type": "tcp"})
		}
		state := "running"
		if c.paused {
			state = "paused"
		}
		if c.stopping {
			if state = "stopping"; req.URL.Query().Get("all") != "true" {
				continue
			}
		}
		all = append(all, map[string]any{
			"Id": id, "Names": []string{"/" + c.name}, "Image": "web", "State": state, "Status": "Up 2 minutes" + c.status,
			"Labels": c.labels, "Ports": ports, "NetworkSettings": map[string]any{"Networks": networks},
		})
	}
	_ = json.NewEncoder(w).Encode(all)
}

func (e *engine) events(w http.ResponseWriter, req *http.Request) {
	events := make(chan string, 100)
	e.mu.Lock()
	e.streams[events] = true
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.streams, events)
	}()
	if e.podman {
		w.Header().Set("Libpod-Api-Version", "4.3.1")
	}
	w.(http.Flusher).Flush()
	for {
		select {
		case <-req.Context().Done():
			return
		case text, ok := <-events:
			_, _ = fmt.Fprint(w, text)
			w.(http.Flusher).Flush()
			if !ok {
				panic(http.ErrAbortHandler) // truncated
			}
		}
	}
}

// change changes the containers, and sends an event of one unless action is "".
func (e *engine) change(id, action, signal string, change func(all map[string]*testContainer)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change(e.containers)
	if action == "" {
		return
	}
	text, _ := json.Marshal(map[string]any{
		"Type": "container", "Action": action, "Actor": map[string]any{"ID": id, "Attributes": map[string]string{"signal": signal, "image": "web"}}, "time": time.Now().Unix(),
	})
	for s := range e.streams {
		s <- string(text) + "\n"
	}
}

// start starts a container in the network web.
func (e *engine) start(id, ip string, with func(*testContainer)) {
	c := &testContainer{
		name: "name-" + id, labels: map[string]string{"app": "web"}, ports: []int{8080},
		networks: map[string][2]string{"web": {ip, ""}},
	}
	if with != nil {
		with(c)
	}
	e.change(id, "start", "", func(all map[string]*testContainer) { all[id] = c })
}

// cut ends the streams of events, within an event.
func (e *engine) cut() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for s := range e.streams {
		s <- `{"Type": "contai`
		close(s)
		delete(e.streams, s)
	}
}

// A rolling update: a container is started, becomes healthy, and the old one is told to stop, drains
// and ends.
func TestDockerFollowsContainers(t *testing.T) {
	e := newEngine(t)
	e.start("1", "10.0.0.1", nil)
	e.start("other", "10.0.0.9", func(c *testContainer) { c.labels = map[string]string{"app": "db"} })
	w := watch(t, &Docker{Host: e.host, Labels: []string{"app=web"}})
	const one = "10.0.0.1:8080 id=name-1 instance=1"
	w.until(one)
	e.start("2", "10.0.0.2", func(c *testContainer) { c.status = " (health: starting)" })
	e.change("2", "health_status: healthy", "", func(all map[string]*testContainer) { all["2"].status = " (healthy)" })
	const two = "10.0.0.2:8080 id=name-2 instance=2"
	w.until(one + "; " + two)
	e.change("1", "kill", "1", func(map[string]*testContainer) {}) // SIGHUP
	e.change("1", "kill", "15", func(map[string]*testContainer) {})
	w.until(one + " draining; " + two)
	e.change("1", "die", "", func(all map[string]*testContainer) { delete(all, "1") })
	w.until(two)
	e.change("2", "health_status: unhealthy", "", func(all map[string]*testContainer) { all["2"].status = " (unhealthy)" })
	w.until("")
	e.change("2", "health_status: healthy", "", func(all map[string]*testContainer) { all["2"].status = " (healthy)" })
	w.until(two)
	e.change("2", "pause", "", func(all map[string]*testContainer) { all["2"].paused = true })
	w.until("")
	// Another container at the address of the first.
	e.start("3", "10.0.0.1", nil)
	w.until("10.0.0.1:8080 id=name-3 instance=3")
}

// A stopped container that is started again no longer drains.
func TestDockerRestart(t *testing.T) {
	e := newEngine(t)
	e.start("1", "10.0.0.1", nil)
	w := watch(t, &Docker{Host: e.host})
	const one = "10.0.0.1:8080 id=name-1 instance=1"
	w.until(one)
	e.change("1", "kill", "SIGTERM", func(map[string]*testContainer) {})
	w.until(one + " draining")
	e.change("1", "start", "", func(map[string]*testContainer) {})
	w.until(one)
}

// Podman has no event for a container that is told to stop, and shows it in another state, as seen with
// Podman 4.3.1. Its kill event has no signal.
func TestPodman(t *testing.T) {
	e := newEngine(t)
	e.podman = true
	e.start("1", "10.0.0.1", nil)
	e.start("2", "10.0.0.2", nil)
	w := watch(t, &Docker{Host: e.host, relist: 20 * time.Millisecond})
	const one, two = "10.0.0.1:8080 id=name-1 instance=1", "10.0.0.2:8080 id=name-2 instance=2"
	w.until(one + "; " + two)
	e.change("1", "", "", func(all map[string]*testContainer) { all["1"].stopping = true })
	w.until(one + " draining; " + two)
	e.change("2", "kill", "", func(map[string]*testContainer) {})
	w.until(one + " draining; " + two + " draining")
	e.change("1", "died", "", func(all map[string]*testContainer) { delete(all, "1") })
	w.until(two + " draining")
}

// Lost events: the full list finds what has changed.
func TestDockerLostEvents(t *testing.T) {
	e := newEngine(t)
	w := watch(t, &Docker{Host: e.host, relist: 20 * time.Millisecond})
	w.until("")
	e.change("1", "", "", func(all map[string]*testContainer) {
		all["1"] = &testContainer{name: "a", ports: []int{80}, networks: map[string][2]string{"web": {"10.0.0.1", ""}}}
	})
	w.until("10.0.0.1:80 id=a instance=1")
}

// A stream that is cut off, or an engine that fails, ends the watch with an error: the pool keeps
// what it has and begins again.
func TestDockerFails(t *testing.T) {
	e := newEngine(t)
	w := watch(t, &Docker{Host: e.host})
	w.until("")
	e.cut()
	if err := w.fails(); !strings.Contains(err.Error(), "stream of events") {
		t.Error(err)
	}
	e.mu.Lock()
	e.fails = true
	e.mu.Unlock()
	if err := watch(t, &Docker{Host: e.host}).fails(); !strings.Contains(err.Error(), "the engine is out of order") {
		t.Error(err)
	}
	if err := watch(t, &Docker{Host: "unix:///nowhere/docker.sock"}).fails(); err == nil {
		t.Error("no socket is no error")
	}
}

// Events that change nothing, such as those of health checks, cause no list.
func TestDockerIgnoresOtherEvents(t *testing.T) {
	e := newEngine(t)
	e.start("1", "10.0.0.1", nil)
	w := watch(t, &Docker{Host: e.host})
	w.until("10.0.0.1:8080 id=name-1 instance=1")
	for range 50 {
		e.change("1", "exec_start: curl", "", func(map[string]*testContainer) {})
	}
	e.start("2", "10.0.0.2", nil) // comes after them
	w.until("10.0.0.1:8080 id=name-1 instance=1; 10.0.0.2:8080 id=name-2 instance=2")
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.lists != 2 {
		t.Errorf("%d lists, want 2", e.lists)
	}
}

// Which address and options a container has, and what is said of one that has none.
func TestDockerContainers(t *testing.T) {
	for name, tt := range map[string]struct {
		source  Docker
		with    func(*testContainer)
		want    string
		ignored string
	}{
		"two networks":             {with: two, ignored: "it has the networks back, front; write `network <name>`"},
		"two networks, one wanted": {source: Docker{Network: "back"}, with: two, want: "10.2.0.1:8080 id=name-1 instance=1"},
		"two networks, by label":   {with: func(c *testContainer) { two(c); c.labels["ballast.network"] = "front" }, want: "10.1.0.1:8080 id=name-1 instance=1"},
		"another network":          {source: Docker{Network: "x"}, ignored: "it is not in the network x"},
		"IPv6":                     {with: func(c *testContainer) { c.networks = map[string][2]string{"web": {"", "2001:db8::1"}} }, want: "[2001:db8::1]:8080 id=name-1 instance=1"},
		"no address":               {with: func(c *testContainer) { c.networks = map[string][2]string{"web": {}} }, ignored: "it has no address in the network web"},
		"the network of the host":  {with: func(c *testContainer) { c.networks = map[string][2]string{"host": {}} }, want: "127.0.0.1:8080 id=name-1 instance=1"},
		"no port":                  {with: func(c *testContainer) { c.ports = nil }, ignored: "it exposes 0 TCP ports"},
		"two ports":                {with: func(c *testContainer) { c.ports = []int{1, 2} }, ignored: "it exposes 2 TCP ports"},
		"a port on two addresses":  {with: func(c *testContainer) { c.ports = []int{8080, 8080} }, want: "10.0.0.1:8080 id=name-1 instance=1"},
		"two ports, by option":     {source: Docker{Port: 2}, with: func(c *testContainer) { c.ports = []int{1, 2} }, want: "10.0.0.1:2 id=name-1 instance=1"},
		"two ports, by label":      {with: func(c *testContainer) { c.ports = []int{1, 2}; c.labels["ballast.port"] = "1" }, want: "10.0.0.1:1 id=name-1 instance=1"},
		"a wrong port":             {with: func(c *testContainer) { c.labels["ballast.port"] = "http" }, ignored: "ballast.port must be"},
		"options": {with: func(c *testContainer) {
			c.labels = map[string]string{"ballast.weight": "3", "ballast.zone": "a", "ballast.tier": "1", "ballast.rack": "r", "x": "y"}
		}, want: "10.0.0.1:8080 id=name-1 instance=1 weight=3 tier=1 zone=a rack=r"},
		"a wrong weight":             {with: func(c *testContainer) { c.labels["ballast.weight"] = "much" }, ignored: "weight must be"},
		"no health check":            {source: Docker{Healthy: true}, ignored: "it has no health check"},
		"healthy":                    {source: Docker{Healthy: true}, with: func(c *testContainer) { c.status = " (healthy)" }, want: "10.0.0.1:8080 id=name-1 instance=1"},
		"starting, as Podman has it": {with: func(c *testContainer) { c.status = " (starting)" }},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t)
			e.start("1", "10.0.0.1", tt.with)
			s := tt.source
			s.Host = e.host
			u := watch(t, &s).until(tt.want)
			if got := u.Ignored["name-1"]; !strings.Contains(got, tt.ignored) || (got == "") != (tt.ignored == "") {
				t.Errorf("ignored because %q, want %q", got, tt.ignored)
			}
		})
	}
}

func two(c *testContainer) {
	c.networks = map[string][2]string{"front": {"10.1.0.1", ""}, "back": {"10.2.0.1", ""}}
}
