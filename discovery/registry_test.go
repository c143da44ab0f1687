// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// registry is an HTTP server whose answers a test changes. A request that asks for what the client
// already has waits for a change.
type registry struct {
	*httptest.Server

	mu       sync.Mutex
	changed  chan struct{} // closed at the next change
	version  int
	list     string
	status   int
	requests []*http.Request
}

// newRegistry returns a server, for which answer writes a list of a version.
func newRegistry(t *testing.T, answer func(r *registry, w http.ResponseWriter, req *http.Request)) *registry {
	r := &registry{changed: make(chan struct{}), version: 1, status: http.StatusOK}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		r.requests = append(r.requests, req)
		r.mu.Unlock()
		answer(r, w, req)
	}))
	t.Cleanup(r.Close)
	return r
}

// set changes the list.
func (r *registry) set(status int, list string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list, r.status = list, status
	r.version++
	close(r.changed)
	r.changed = make(chan struct{})
}

// state returns the list, its version, and a channel that is closed at the next change.
func (r *registry) state() (list string, status, version int, changed chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.list, r.status, r.version, r.changed
}

// lastRequests returns the last n requests.
func (r *registry) lastRequests(n int) []*http.Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.requests[max(0, len(r.requests)-n):]
}

// answerHTTP answers as a registry of Prometheus' HTTP service discovery does.
func answerHTTP(r *registry, w http.ResponseWriter, req *http.Request) {
	list, status, version, _ := r.state()
	tag := fmt.Sprintf("%q", fmt.Sprint(version))
	w.Header().Set("Etag", tag)
	if req.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.WriteHeader(status)
	_, _ = fmt.Fprint(w, list)
}

func TestHTTP(t *testing.T) {
	r := newRegistry(t, answerHTTP)
	r.set(200, `[{"targets": ["10.0.0.1:80"]}]`)
	w := watch(t, &HTTP{URL: r.URL + "/lists/web/?env=prod", Every: caddy.Duration(100 * time.Millisecond)})
	w.until("10.0.0.1:80")
	r.set(200, `[{"targets": ["10.0.0.1:80", "10.0.0.2:80"], "labels": {"zone": "b"}}]`)
	w.until("10.0.0.1:80 zone=b; 10.0.0.2:80 zone=b")
	last := r.lastRequests(1)[0]
	if last.URL.Path != "/lists/web/" || last.URL.RawQuery != "env=prod" || last.Header.Get("Accept") != "application/json" {
		t.Errorf("asked for %v with %v", last.URL, last.Header)
	}
	if n := len(w.updates); n != 0 {
		t.Errorf("%d updates of a list that is the same", n)
	}
	r.set(500, "out of order")
	if err := w.fails(); !strings.Contains(err.Error(), "500") || !strings.Contains(err.Error(), "out of order") {
		t.Error(err)
	}
	r.set(200, `{"error": "no list"}`)
	if err := watch(t, &HTTP{URL: r.URL}).fails(); !strings.Contains(err.Error(), "not an array") {
		t.Error(err)
	}
}

// A registry that does not answer, or stops within its answer, does not keep a watch from ending.
func TestSlowRegistry(t *testing.T) {
	began, ended := make(chan struct{}), make(chan struct{})
	wait := func(t *testing.T, what string, c chan struct{}) {
		select {
		case <-c:
		case <-time.After(patience):
			t.Fatalf("the request has not %s", what)
		}
	}
	r := newRegistry(t, func(_ *registry, w http.ResponseWriter, req *http.Request) {
		began <- struct{}{}
		if req.URL.Path == "/body" {
			_, _ = fmt.Fprint(w, `["10.0.0.1`)
			w.(http.Flusher).Flush()
		}
		<-req.Context().Done()
		ended <- struct{}{}
	})
	for _, path := range []string{"/header", "/body"} {
		t.Run(path, func(t *testing.T) {
			watch(t, &HTTP{URL: r.URL + path}) // its cleanup expects the end
			wait(t, "begun", began)
		})
		wait(t, "ended", ended)
	}
}

// answerConsul answers as the health API of an agent does, with blocking queries.
func answerConsul(r *registry, w http.ResponseWriter, req *http.Request) {
	list, status, version, changed := r.state()
	if req.URL.Query().Get("index") == fmt.Sprint(version) {
		select {
		case <-changed:
		case <-req.Context().Done():
			return
		}
		list, status, version, _ = r.state()
	}
	w.Header().Set("X-Consul-Index", fmt.Sprint(version))
	w.WriteHeader(status)
	_, _ = fmt.Fprint(w, list)
}

// consulEntry returns an instance as the health API has it, with the reference's fields.
func consulEntry(node, id, address string, status, more string) string {
	return fmt.Sprintf(`{"Node": {"ID": "40e4a748", "Node": %q, "Address": "10.1.0.1", "Datacenter": "dc1", "Meta": {}},
		"Service": {"ID": %q, "Service": "web", "Tags": ["v2"], "Address": %q, "Port": 8000, "Weights": {"Passing": 10, "Warning": 2}, "Meta": {"ballast_zone": "a", "version": "2"}},
		"Checks": [{"Node": %q, "CheckID": "serfHealth", "Status": "passing"}, {"CheckID": "service:web", "Status": %q}%s]}`, node, id, address, node, status, more)
}

func TestConsul(t *testing.T) {
	r := newRegistry(t, answerConsul)
	r.set(200, "["+consulEntry("n1", "web-1", "10.0.0.1", "passing", "")+"]")
	w := watch(t, &Consul{Service: "web", Address: r.URL, Token: "secret", Tag: "v2"})
	w.until("10.0.0.1:8000 id=web-1 weight=10 zone=a")
	r.set(200, "["+consulEntry("n1", "web-1", "10.0.0.1", "warning", "")+","+
		consulEntry("n2", "web-2", "", "passing", "")+","+
		consulEntry("n3", "web-3", "10.0.0.3", "critical", "")+"]")
	w.until("10.0.0.1:8000 id=web-1 weight=2 zone=a; 10.1.0.1:8000 id=web-2 weight=10 zone=a")
	r.set(200, "["+consulEntry("n1", "web", "10.0.0.1", "passing", "")+","+
		consulEntry("n2", "web", "2001:db8::1", "passing", `, {"CheckID": "_service_maintenance:web", "Status": "critical"}`)+"]")
	w.until("10.0.0.1:8000 id=n1/web weight=10 zone=a; [2001:db8::1]:8000 id=n2/web weight=10 zone=a draining")
	last := r.lastRequests(1)[0]
	if q := last.URL.Query(); last.URL.Path != "/v1/health/service/web" || q.Get("tag") != "v2" || q.Get("wait") != "300s" ||
		last.Header.Get("X-Consul-Token") != "secret" {
		t.Errorf("asked for %v with %v", last.URL, last.Header)
	}
	r.set(403, "rpc error: Permission denied: token with AccessorID lacks permission")
	if err := w.fails(); !strings.Contains(err.Error(), "Permission denied") {
		t.Error(err)
	}
}

// An index that goes back is that of another server: the next query asks for all.
func TestConsulIndexIsReset(t *testing.T) {
	r := newRegistry(t, answerConsul)
	r.set(200, "[]")
	r.set(200, "[]")
	w := watch(t, &Consul{Service: "web", Address: r.URL, Passing: true})
	w.until("")
	r.mu.Lock()
	r.version = -1 // a restart: the next version is 0, then 1
	r.mu.Unlock()
	r.set(200, "["+consulEntry("n1", "web-1", "10.0.0.1", "passing", "")+"]")
	w.until("10.0.0.1:8000 id=web-1 weight=10 zone=a")
	r.set(200, "["+consulEntry("n1", "web-1", "10.0.0.1", "warning", "")+"]")
	w.until("")
}

func TestOptionsOfSources(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	for name, tt := range map[string]struct {
		source caddy.Provisioner
		err    string
	}{
		"docker host":           {&Docker{Host: "docker.sock"}, "host must be an address"},
		"docker host, relative": {&Docker{Host: "unix://docker.sock"}, "host must be an address"},
		"docker port":           {&Docker{Port: 70000}, "port must be"},
		"docker label":          {&Docker{Labels: []string{"=web"}}, "label must be a key"},
		"file":                  {&File{}, "the path is missing"},
		"http":                  {&HTTP{}, "the URL is missing"},
		"http, no URL":          {&HTTP{URL: "registry/web"}, "must have a URL"},
		"http, every":           {&HTTP{URL: "http://a/", Every: 10}, "every must be"},
		"consul":                {&Consul{}, "the service is missing"},
		"consul address":        {&Consul{Service: "web", Address: "ftp://a"}, "address must be an address"},
		"kubernetes":            {&Kubernetes{Service: "web"}, "must have a service such as shop/web"},
		"kubernetes, outside":   {&Kubernetes{Service: "shop/web"}, "not in a Kubernetes cluster"},
	} {
		if err := tt.source.Provision(caddy.Context{}); err == nil || !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %v, want %q", name, err, tt.err)
		}
	}
}
