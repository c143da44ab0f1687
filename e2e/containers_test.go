// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// engine is an API of Docker on a Unix socket, whose containers are backends of a test: as much of the
// Engine API 1.43 as `from docker` uses.
type engine struct {
	host string

	mu         sync.Mutex
	containers map[string]*graceful // by id
	streams    map[chan string]bool
}

func startEngine(t *testing.T) *engine {
	path := filepath.Join(t.TempDir(), "docker.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{host: "unix://" + path, containers: make(map[string]*graceful), streams: make(map[chan string]bool)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containers/json", e.list)
	mux.HandleFunc("GET /events", e.events)
	server := &http.Server{Handler: mux}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return e
}

func (e *engine) list(w http.ResponseWriter, _ *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := []map[string]any{}
	for id, g := range e.containers {
		_, port, _ := net.SplitHostPort(g.address)
		n, _ := strconv.Atoi(port)
		all = append(all, map[string]any{
			"Id": id, "Names": []string{"/" + id}, "State": "running", "Status": "Up 2 seconds",
			"Labels": map[string]string{"app": "web"}, "Ports": []map[string]any{{"PrivatePort": n, "Type": "tcp"}},
			"NetworkSettings": map[string]any{"Networks": map[string]any{"web": map[string]any{"IPAddress": "127.0.0.1"}}},
		})
	}
	json.NewEncoder(w).Encode(all)
}

func (e *engine) events(w http.ResponseWriter, r *http.Request) {
	events := make(chan string, 100)
	e.mu.Lock()
	e.streams[events] = true
	e.mu.Unlock()
	w.(http.Flusher).Flush()
	for {
		select {
		case <-r.Context().Done():
			e.mu.Lock()
			delete(e.streams, events)
			e.mu.Unlock()
			return
		case text := <-events:
			fmt.Fprintln(w, text)
			w.(http.Flusher).Flush()
		}
	}
}

// send sends an event of a container. The caller must hold mu.
func (e *engine) send(id, action, signal string) {
	for s := range e.streams {
		s <- fmt.Sprintf(`{"Type": "container", "Action": %q, "Actor": {"ID": %q, "Attributes": {"signal": %q}}}`, action, id, signal)
	}
}

// run starts a container.
func (e *engine) run(t *testing.T, id string) {
	g := startGraceful(t, lingerEnv+"=500ms")
	e.mu.Lock()
	defer e.mu.Unlock()
	e.containers[id] = g
	e.send(id, "start", "")
}

// stop stops a container as `docker stop` does: the engine sends the signal, tells of that, and tells of
// the end.
func (e *engine) stop(t *testing.T, id string) {
	e.mu.Lock()
	g := e.containers[id]
	g.process.signal(syscall.SIGTERM)
	e.send(id, "kill", "15")
	e.mu.Unlock()
	g.process.cmd.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.containers, id)
	e.send(id, "die", "")
}

// TestRollingUpdate replaces six containers one by one under load, without retries: new ones get
// requests, and none fails. The application serves on for half a second after SIGTERM, and ends its
// requests. A WebSocket through another pool stays open, as nothing is reloaded.
func TestRollingUpdate(t *testing.T) {
	e := startEngine(t)
	for n := range 6 {
		e.run(t, fmt.Sprint("old-", n))
	}
	address, port := freeAddress(t), freePort(t)
	_, services := newServices(t)
	c := startCaddy(t, "", fmt.Sprintf(`
http://%s {
	reverse_proxy {
		dynamic pool web {
			from docker {
				label app=web
				host %s
			}
		}
		lb_policy wrr
	}
}
:%d {
	bind 127.0.0.1
	reverse_proxy {
		dynamic pool services {
			to %s
		}
	}
}`, address, e.host, port, strings.Join(services, " ")))
	socket := openWebSocket(t, port)
	load := startLoad(t, "http://"+address+"/", 500, 0)
	load.more(500)
	for n := range 6 {
		id := fmt.Sprint("new-", n)
		e.run(t, id)
		began := time.Now()
		eventually(t, id+" is a backend", func() bool { return strings.Contains(c.get("/ballast/pools/web"), id) })
		t.Logf("%s is a backend after %v", id, time.Since(began))
		e.stop(t, fmt.Sprint("old-", n))
	}
	eventually(t, "the old containers have left", func() bool { return !strings.Contains(c.get("/ballast/pools/web"), "old-") })
	load.more(500)
	load.stop()
	load.mustNotFail()
	if n := len(load.counts()); n != 12 {
		t.Errorf("%d containers have answered, want 12", n)
	}
	if err := echoOver(socket); err != nil {
		t.Errorf("the WebSocket of another pool: %v", err)
	}
}
