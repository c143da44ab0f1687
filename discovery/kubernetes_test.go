// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// cluster is a server of EndpointSlices as the API server of Kubernetes has them (discovery.k8s.io/v1):
// a list in pages of one slice, and watches.
type cluster struct {
	*httptest.Server
	token, ca string // files

	mu      sync.Mutex
	slices  []string
	version int
	accepts string // the token
	watches map[chan string]string
	expired bool // the version of the next watch
	lists   int
	began   sync.Cond // a watch has begun
}

func newCluster(t *testing.T) *cluster {
	c := &cluster{version: 100, accepts: "first", watches: make(map[chan string]string)}
	c.began.L = &c.mu
	c.Server = httptest.NewTLSServer(c)
	t.Cleanup(c.Close)
	dir := t.TempDir()
	c.token, c.ca = filepath.Join(dir, "token"), filepath.Join(dir, "ca.crt")
	c.write(t, c.token, []byte("first\n"))
	c.write(t, c.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate().Raw}))
	return c
}

func (c *cluster) write(t *testing.T, path string, data []byte) {
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (c *cluster) source(service string) *Kubernetes {
	return &Kubernetes{Service: service, API: c.URL, TokenFile: c.token, CAFile: c.ca}
}

// ServeHTTP implements [http.Handler].
func (c *cluster) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	q := req.URL.Query()
	c.mu.Lock()
	token := "Bearer " + c.accepts
	c.mu.Unlock()
	switch {
	case req.Header.Get("Authorization") != token:
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = fmt.Fprint(w, `{"kind": "Status", "status": "Failure", "message": "Unauthorized", "code": 401}`)
	case req.URL.Path != "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices" || q.Get("labelSelector") != "kubernetes.io/service-name=web":
		w.WriteHeader(http.StatusForbidden)
	case q.Get("watch") == "1":
		c.watch(w, req)
	default:
		c.list(w, q.Get("continue"))
	}
}

func (c *cluster) list(w http.ResponseWriter, page string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lists++
	n, next, item := 0, "", ""
	_, _ = fmt.Sscan(page, &n)
	if n < len(c.slices) {
		item = c.slices[n]
	}
	if n+1 < len(c.slices) {
		next = fmt.Sprint(n + 1)
	}
	_, _ = fmt.Fprintf(w, `{"kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1", "metadata": {"resourceVersion": "%d", "continue": %q}, "items": [%s]}`, c.version, next, item)
}

func (c *cluster) watch(w http.ResponseWriter, req *http.Request) {
	events := make(chan string, 100)
	c.mu.Lock()
	if c.expired {
		c.expired = false
		c.mu.Unlock()
		_, _ = fmt.Fprint(w, `{"type": "ERROR", "object": {"kind": "Status", "status": "Failure", "message": "too old resource version", "reason": "Expired", "code": 410}}`)
		return
	}
	c.watches[events] = req.URL.Query().Get("resourceVersion")
	c.began.Broadcast()
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.watches, events)
	}()
	w.(http.Flusher).Flush()
	for {
		select {
		case <-req.Context().Done():
			return
		case text, ok := <-events:
			if !ok {
				return
			}
			_, _ = fmt.Fprint(w, text)
			w.(http.Flusher).Flush()
		}
	}
}

// send sends an event to the watches, once there is one.
func (c *cluster) send(kind, object string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.watches) == 0 {
		c.began.Wait()
	}
	for events := range c.watches {
		events <- fmt.Sprintf("{\"type\": %q, \"object\": %s}\n", kind, object)
	}
}

// end ends the watches.
func (c *cluster) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for events := range c.watches {
		close(events)
		delete(c.watches, events)
	}
}

// slice returns an EndpointSlice.
func slice(name, family, ports string, endpoints ...string) string {
	return fmt.Sprintf(`{"kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "metadata": {"name": %q, "namespace": "shop", "resourceVersion": "101", "labels": {"kubernetes.io/service-name": "web"}},
		"addressType": %q, "ports": [%s], "endpoints": [%s]}`, name, family, ports, strings.Join(endpoints, ","))
}

const httpPort = `{"name": "http", "protocol": "TCP", "port": 8080}`

// pod returns an endpoint.
func pod(name, address, conditions string) string {
	return fmt.Sprintf(`{"addresses": [%q], "conditions": {%s}, "targetRef": {"kind": "Pod", "namespace": "shop", "name": %q, "uid": "uid-%s"}, "nodeName": "n1", "zone": "z1"}`, address, conditions, name, name)
}

const (
	ready       = `"ready": true, "serving": true, "terminating": false`
	terminating = `"ready": false, "serving": true, "terminating": true`
	ended       = `"ready": false, "serving": false, "terminating": true`
	starting    = `"ready": false, "serving": false, "terminating": false`
)

// of describes a pod as describe does.
func of(name, address string) string {
	return address + " id=" + name + " instance=uid-" + name + " zone=z1"
}

// A rolling update in several slices.
func TestKubernetes(t *testing.T) {
	c := newCluster(t)
	c.slices = []string{slice("web-a", "IPv4", httpPort, pod("a", "10.0.0.1", ready)), slice("web-b", "IPv4", httpPort, pod("b", "10.0.0.2", ready))}
	w := watch(t, c.source("shop/web"))
	a, b := of("a", "10.0.0.1:8080"), of("b", "10.0.0.2:8080")
	node := " node=n1"
	w.until(a + node + "; " + b + node)
	c.send("ADDED", slice("web-c", "IPv4", httpPort, pod("c", "10.0.0.3", starting)))
	c.send("MODIFIED", slice("web-c", "IPv4", httpPort, pod("c", "10.0.0.3", ready)))
	third := of("c", "10.0.0.3:8080")
	w.until(a + node + "; " + b + node + "; " + third + node)
	c.send("MODIFIED", slice("web-a", "IPv4", httpPort, pod("a", "10.0.0.1", terminating)))
	w.until(a + " draining" + node + "; " + b + node + "; " + third + node)
	c.send("MODIFIED", slice("web-a", "IPv4", httpPort, pod("a", "10.0.0.1", ended)))
	w.until(b + node + "; " + third + node)
	c.send("DELETED", slice("web-b", "IPv4", httpPort))
	w.until(third + node)
	// The same address in another slice, and both families of one pod.
	c.send("ADDED", slice("web-d", "IPv4", httpPort, pod("c", "10.0.0.3", ready), pod("e", "10.0.0.1", ready)))
	c.send("ADDED", slice("web-6", "IPv6", httpPort, pod("c", "2001:db8::3", ready), pod("f", "2001:db8::6", ready)))
	w.until(of("e", "10.0.0.1:8080") + node + "; " + third + node + "; " + of("f", "[2001:db8::6]:8080") + node)
}

// A watch that ends is continued from the latest version, and one whose version has expired begins
// with a list. A token is read anew.
func TestKubernetesContinues(t *testing.T) {
	c := newCluster(t)
	c.slices = []string{slice("web-a", "IPv4", httpPort, pod("a", "10.0.0.1", ready))}
	w := watch(t, c.source("shop/web:http"))
	a := of("a", "10.0.0.1:8080") + " node=n1"
	w.until(a)
	c.send("BOOKMARK", `{"metadata": {"resourceVersion": "250"}}`)
	c.mu.Lock()
	c.accepts = "second"
	c.mu.Unlock()
	c.write(t, c.token, []byte("second"))
	c.end()
	c.send("ADDED", slice("web-b", "IPv4", httpPort, pod("b", "10.0.0.2", ready)))
	w.until(a + "; " + of("b", "10.0.0.2:8080") + " node=n1")
	c.mu.Lock()
	for _, version := range c.watches {
		if version != "250" {
			t.Errorf("continued from %s", version)
		}
	}
	if c.lists != 1 {
		t.Errorf("%d lists", c.lists)
	}
	c.expired, c.slices = true, nil
	c.mu.Unlock()
	c.end()
	w.until("")
	c.mu.Lock()
	c.accepts = "third"
	c.mu.Unlock()
	c.end()
	if err := w.fails(); !strings.Contains(err.Error(), "401 Unauthorized") {
		t.Error(err)
	}
}

// A stream that is truncated ends the watch with an error.
func TestKubernetesTruncated(t *testing.T) {
	c := newCluster(t)
	w := watch(t, c.source("shop/web"))
	w.until("")
	c.send("ADDED", "{") // the object does not end
	c.end()
	if err := w.fails(); !strings.Contains(err.Error(), "the watch ended") {
		t.Error(err)
	}
}

func TestKubernetesPorts(t *testing.T) {
	const two = httpPort + `, {"name": "metrics", "protocol": "TCP", "port": 9090}, {"name": "dns", "protocol": "UDP", "port": 53}`
	for name, tt := range map[string]struct{ service, ports, address, ignored string }{
		"the only one": {"shop/web", httpPort, "10.0.0.1:8080", ""},
		"no name":      {"shop/web", `{"port": 80}`, "10.0.0.1:80", ""},
		"by name":      {"shop/web:metrics", two, "10.0.0.1:9090", ""},
		"by number":    {"shop/web:9090", two, "10.0.0.1:9090", ""},
		"two":          {"shop/web", two, "", "it has 2 TCP ports: http, metrics; write from kubernetes shop/web:<port>"},
		"UDP":          {"shop/web:dns", two, "", "it has no TCP port dns, but http, metrics"},
		"none":         {"shop/web", "", "", "it has 0 TCP ports"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			c.slices = []string{slice("web-a", "IPv4", tt.ports, pod("a", "10.0.0.1", ready))}
			want := ""
			if tt.address != "" {
				want = of("a", tt.address) + " node=n1"
			}
			u := watch(t, c.source(tt.service)).until(want)
			if got := u.Ignored["web-a"]; !strings.Contains(got, tt.ignored) || (got == "") != (tt.ignored == "") {
				t.Errorf("ignored because %q, want %q", got, tt.ignored)
			}
		})
	}
}

// A stateful pod that has moved: its predecessor drains, and the new one keeps the id.
func TestKubernetesPodOfTheSameName(t *testing.T) {
	c := newCluster(t)
	old := strings.Replace(pod("web-0", "10.0.0.1", terminating), "uid-web-0", "uid-old", 1)
	c.slices = []string{slice("web-a", "IPv4", httpPort, old, pod("web-0", "10.0.0.2", ready))}
	watch(t, c.source("shop/web")).until("10.0.0.1:8080 instance=uid-old zone=z1 draining node=n1; " + of("web-0", "10.0.0.2:8080") + " node=n1")
}

// Without the authority's certificate the server is not trusted.
func TestKubernetesVerifiesTheServer(t *testing.T) {
	c := newCluster(t)
	s := c.source("shop/web")
	s.CAFile = ""
	if err := watch(t, s).fails(); !strings.Contains(err.Error(), "certificate") {
		t.Error(err)
	}
}
