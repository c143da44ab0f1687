// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// shots is where the pictures of docs/images are written to, if anywhere.
const shots = "BALLAST_SHOTS"

// TestDashboard has a real browser load the dashboard, see a backend die and an outage, do
// and undo what an operator does, and show pools of 200 and 1,000 backends: browser/dashboard.mjs.
func TestDashboard(t *testing.T) {
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("no chromium: the dashboard is not tried in a browser; `make browser` fetches it")
	}
	if _, err := os.Stat("browser/node_modules/playwright-core"); err != nil {
		t.Skip("no playwright-core: the dashboard is not tried in a browser; `make browser` fetches it")
	}
	one, two, three, four := startBackend(t, freeAddress(t)), startBackend(t, freeAddress(t)), startBackend(t, freeAddress(t)), startBackend(t, freeAddress(t))
	port, many := freePort(t), freePort(t)
	global := fmt.Sprintf("ballast {\npool web {\nbackend %s {\nid one\n}\nbackend %s {\nid two\n}\nbackend %s {\nid three\nmeta note \"<img src=x><b>\"\n}\n%s\n}\n}",
		one.address, two.address, three.address, check("http /health", twice))
	site := fmt.Sprintf(`:%d {
		bind 127.0.0.1
		handle /status* {
			pool_status
		}
		handle {
			shed fixed 100
			reverse_proxy {
				dynamic pool web
				lb_policy p2c
				lb_retries 2
			}
		}
	}
	`, port)
	c := startCaddy(t, global, site)
	var addresses []string
	for n := range 1000 {
		addresses = append(addresses, fmt.Sprintf("127.1.%d.%d:80", n/250, n%250+1))
	}
	large := startCaddy(t, "ballast {\npool large {\nto "+strings.Join(addresses, " ")+"\n}\n}",
		fmt.Sprintf(":%d {\nbind 127.0.0.1\nhandle /status* {\npool_status\n}\nreverse_proxy {\ndynamic pool large\n}\n}\n", many))
	_ = large
	startLoad(t, fmt.Sprintf("http://127.0.0.1:%d/", port), 50, 3)
	shop := startShop(t)

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "browser/dashboard.mjs")
	cmd.Env = append(os.Environ(), "CHROMIUM="+chromium, "PAGE="+dashboardOf(t, c), "SHOTS="+os.Getenv(shots), "ANOTHER="+four.address, "FLEET="+dashboardOf(t, shop),
		fmt.Sprintf("STATUS=http://127.0.0.1:%d/status", port), fmt.Sprintf("MANY=http://127.0.0.1:%d/status/", many))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	passed := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		switch line := lines.Text(); line {
		case "kill":
			three.kill()
		case "revive":
			three.start()
		case "drained":
			if !strings.Contains(c.get("/ballast/pools/web/backends/two"), `"admin":"drain"`) {
				t.Error("two is not drained")
			}
		case "weighed":
			if !strings.Contains(c.get("/ballast/pools/web/backends/one"), `"weight":7`) {
				t.Error("one does not have the weight 7")
			}
		case "passed":
			passed = true
		default:
			if strings.HasPrefix(line, "FAIL") {
				t.Error(line)
			} else {
				t.Log(line)
			}
			continue
		}
		fmt.Fprintln(in, "done")
	}
	if err := cmd.Wait(); err != nil || !passed {
		t.Errorf("the browser's part has not passed: %v", err)
	}
}

// startShop starts two instances of a fleet, before a pool with a rollout and one of 200 backends, and
// returns one of them.
func startShop(t testing.TB) (c *caddyProcess) {
	t.Helper()
	old, canary, data := startBackend(t, freeAddress(t)), startBackend(t, freeAddress(t)), t.TempDir()
	for _, id := range []string{"north", "south"} {
		c = &caddyProcess{t: t, admin: freeAddress(t), dir: t.TempDir(), data: data}
		t.Cleanup(c.stop)
		port := freePort(t)
		c.start(fmt.Sprintf(`ballast {
			fleet {
				id %s
				zone %s
				wait 1s
				store caddy
			}
			pool shop {
				backend %s {
					id old
				}
				group canary {
					backend %s {
						id new
					}
					share 10%%
					steps 50%% 100%% every 1h
					abort errors +20%%
				}
			}
			pool middle {
				to 127.1.0.1:8001-8200
			}
		}`, id, id, old.address, canary.address), fmt.Sprintf(":%d {\nbind 127.0.0.1\nreverse_proxy {\ndynamic pool shop\n}\n}\n", port))
		startLoad(t, fmt.Sprintf("http://127.0.0.1:%d/", port), 20, 3)
	}
	return c
}

// dashboardOf has `caddy ballast dashboard` show the page, and returns where.
func dashboardOf(t testing.TB, c *caddyProcess) string {
	t.Helper()
	cmd := exec.Command(caddyBinary, "ballast", "dashboard", "--address", c.admin)
	cmd.Env = append(os.Environ(), "HOME="+c.dir)
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	url := regexp.MustCompile(`http://\S+`).FindString(line)
	if err != nil || url == "" {
		t.Fatalf("the command says %q, %v", line, err)
	}
	return url
}

// TestDashboardDoor has nobody through who does not come from the page.
func TestDashboardDoor(t *testing.T) {
	b := startBackend(t, freeAddress(t))
	c := startCaddy(t, "", poolSite(freePort(t), "to "+b.address, ""))
	page := dashboardOf(t, c)
	host := strings.Split(page, "/")[2]
	for _, tt := range []struct {
		method, url string
		header      http.Header
		host        string
		status      int
	}{
		{"GET", page, nil, "", 200},
		{"GET", page, http.Header{"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Site": {"none"}}, "", 200},
		{"GET", page + "pools", http.Header{"Sec-Fetch-Site": {"same-origin"}, "Referer": {page}}, "", 200},
		{"GET", page + "nothing", nil, "", 404},
		{"GET", "http://" + host + "/ballast/", nil, "", 404},
		{"GET", "http://" + host + "/", nil, "", 404},
		{"GET", strings.TrimSuffix(page, "ballast/") + "config/", nil, "", 404},
		{"GET", page + "pools", http.Header{"Sec-Fetch-Site": {"cross-site"}}, "", 403},
		{"GET", page + "pools", http.Header{"Origin": {"http://evil.test"}}, "", 403},
		{"GET", page, nil, "evil.test", 403},
	} {
		req, err := http.NewRequest(tt.method, tt.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, values := range tt.header {
			req.Header[name] = values
		}
		if tt.host != "" {
			req.Host = tt.host
		}
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if res.StatusCode != tt.status {
			t.Errorf("%s %s with %v, of %q: status %d, want %d", tt.method, tt.url, tt.header, tt.host, res.StatusCode, tt.status)
		}
	}
}
