// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// quickstart returns the sites of the quickstart with other ports: that of the
// load balancer, and the ports of the backends as the pool has them and as
// they are served.
func quickstart(t *testing.T, port int, pool, served [3]int) string {
	t.Helper()
	replace := []string{":8080", ":" + strconv.Itoa(port)}
	for i := range 3 {
		replace = append(replace,
			fmt.Sprintf("127.0.0.1:900%d", i+1), fmt.Sprintf("127.0.0.1:%d", pool[i]),
			fmt.Sprintf(":900%d", i+1), fmt.Sprintf(":%d", served[i]))
	}
	replace = append(replace, ":9004", fmt.Sprintf(":%d", freePort(t)))
	sites := strings.NewReplacer(replace...).Replace(example(t, "quickstart"))
	if strings.Contains(sites, ":8080") || strings.Contains(sites, ":900") {
		t.Fatalf("a port of the quickstart is not replaced:\n%s", sites)
	}
	return sites
}

// example returns the Caddyfile of an example.
func example(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, "examples", name, "Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func threePorts(t *testing.T) [3]int { return [3]int{freePort(t), freePort(t), freePort(t)} }

// TestQuickstart has the quickstart answer from its three backends in turn.
func TestQuickstart(t *testing.T) {
	port, backends := freePort(t), threePorts(t)
	startCaddy(t, "", quickstart(t, port, backends, backends))
	eventually(t, "three requests in a row are answered by three backends", func() bool {
		seen := make(map[string]bool)
		for range 3 {
			status, body := get(t, port)
			if status != http.StatusOK || !strings.HasPrefix(body, "hello from ") {
				return false
			}
			seen[body] = true
		}
		return len(seen) == 3
	})
}

// TestQuickstartNoBackend has none of the quickstart's backends there: it says
// so in JSON.
func TestQuickstartNoBackend(t *testing.T) {
	port := freePort(t)
	c := startCaddy(t, "", quickstart(t, port, threePorts(t), threePorts(t)))
	eventually(t, "all backends are down", func() bool { return c.log.count("backend is down", nil) == 3 })
	status, body := get(t, port)
	var answer map[string]string
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatalf("got %q: %v", body, err)
	}
	if status != http.StatusServiceUnavailable || answer["reason"] != "all_down" || answer["error"] != "Service Unavailable" {
		t.Errorf("got status %d, %q", status, body)
	}
}

// get returns the status and the body of a page.
func get(t *testing.T, port int) (int, string) {
	t.Helper()
	res, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", port))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}
