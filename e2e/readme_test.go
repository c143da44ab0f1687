// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// needsDocker is the reason for commands of the examples with compose files, which TestCompose looks at.
const needsDocker = "needs a Docker daemon, and images from the network"

// needsConsul and needsCluster are the same of examples/consul and examples/kubernetes.
const (
	needsConsul  = "needs Consul, which Debian does not have"
	needsSystemd = "changes the system; TestSystemd verifies the unit"
	needsCluster = "needs a Kubernetes cluster"
)

// notTyped are the commands of READMEs that TestReadmeCommands cannot run, and why.
var notTyped = map[string]string{
	"useradd --system --home-dir /var/lib/caddy --shell /usr/sbin/nologin caddy": needsSystemd,
	"install -m 755 caddy /usr/local/bin/caddy":                                  needsSystemd,
	"install -D -m 644 Caddyfile /etc/caddy/Caddyfile":                           needsSystemd,
	"install -m 644 ballast.service /etc/systemd/system/ballast.service":         needsSystemd,
	"systemctl daemon-reload":                                                    needsSystemd,
	"systemctl enable --now ballast":                                             needsSystemd,
	"go build -o caddy ./cmd/caddy":                                              "TestMain has built that package; a build in another directory takes a minute",
	"xcaddy build --with github.com/ballast-lb/caddy-ballast":                    "needs the network; TestBuild does the same without it",
	"make bench":                                     "takes twelve minutes",
	"go build -C l4 -o ../caddy ./cmd/caddy":         "tcpCaddy has built that package; a build in another directory takes a minute",
	"go build -C redisstore -o ../caddy ./cmd/caddy": "redisCaddy has built that package; a build in another directory takes a minute",
	"docker compose -f examples/fleet/compose.yaml up --build --detach --wait":                   needsDocker,
	"docker compose -f examples/fleet/compose.yaml kill two":                                     needsDocker,
	"docker compose -f examples/fleet/compose.yaml down":                                         needsDocker,
	"docker compose -f examples/compose/compose.yaml up --build --detach --wait":                 needsDocker,
	"for i in $(seq 300); do curl -s http://localhost:8080; done | sort | uniq -c":               needsDocker,
	"docker compose -f examples/compose/compose.yaml stop two":                                   needsDocker,
	"docker compose -f examples/compose/compose.yaml start two":                                  needsDocker,
	"docker compose -f examples/compose/compose.yaml exec ballast caddy ballast drain web one":   needsDocker,
	"docker compose -f examples/compose/compose.yaml exec ballast caddy ballast ready web one":   needsDocker,
	"docker compose -f examples/compose/compose.yaml down --volumes":                             needsDocker,
	"docker compose -f examples/docker/compose.yaml up --build --detach --wait":                  needsDocker,
	"curl -s -i http://127.0.0.1:8080 | grep X-Backend":                                          needsDocker,
	"docker compose -f examples/docker/compose.yaml up --detach --no-recreate --scale web=4":     needsDocker,
	"docker compose -f examples/docker/compose.yaml stop --timeout 30 web":                       needsDocker,
	"old=$(docker compose -f examples/docker/compose.yaml ps --quiet web)":                       needsDocker,
	"docker compose -f examples/docker/compose.yaml up --detach --no-recreate --scale web=4 web": needsDocker,
	"docker stop --time 30 $old && docker rm $old":                                               needsDocker,
	"consul agent -dev &": needsConsul,
	"consul services register -name web -id web-1 -address 127.0.0.1 -port 9001":                                  needsConsul,
	"consul services register -name web -id web-2 -address 127.0.0.1 -port 9002":                                  needsConsul,
	"consul maint -enable -service web-1":                                                                         needsConsul,
	"consul services deregister -id web-2":                                                                        needsConsul,
	"kubectl apply --filename examples/kubernetes/shop.yaml":                                                      needsCluster,
	"kubectl create configmap ballast --namespace shop --from-file examples/kubernetes/Caddyfile":                 needsCluster,
	"kubectl port-forward --namespace shop service/ballast 8080:80 &":                                             needsCluster,
	"kubectl rollout restart deployment/web --namespace shop":                                                     needsCluster,
	"APP_NAME=app.internal APP_SRV=_http._tcp.app.internal ./caddy run --config examples/dns-discovery/Caddyfile": "these names stand for the reader's own",
}

// TestReadmeCommands types every command of README.md and of the READMEs of the
// examples, in order, where a reader would, and compares what they promise.
func TestReadmeCommands(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(repository, "examples", "*", "README.md"))
	if err != nil || len(pages) < 10 {
		t.Fatalf("found %v: %v", pages, err)
	}
	seen := make(map[string]bool)
	for _, page := range append(pages, filepath.Join(repository, "README.md")) {
		page, _ = filepath.Rel(repository, page)
		blocks := readmeBlocks(t, page)
		for _, b := range blocks {
			if b.kind == "sh" {
				for _, command := range b.commands(t) {
					seen[command] = true
				}
			}
		}
		t.Run(page, func(t *testing.T) {
			t.Parallel() // they wait for most of the time
			binary := caddyBinary
			if strings.Contains(page, "examples/fleet/") {
				needRedis(t)
				binary = redisCaddy(t)
			}
			if strings.Contains(page, "examples/tcp/") {
				needRedis(t)
				needLoopback2(t)
				binary = tcpCaddy(t)
			}
			newReader(t, binary).read(blocks)
		})
	}
	for command := range notTyped {
		if !seen[command] {
			t.Errorf("no README has this command any more: %s", command)
		}
	}
}

// patience is how long a reader waits for what a README promises. It is longer than
// the longest ejection in the examples.
const patience = 45 * time.Second

// reader follows a README in a copy of the examples whose ports nobody else uses. It
// is for one goroutine.
type reader struct {
	*testing.T
	dir       string
	env       []string
	shell     *shell
	caddy     *terminal
	terminals []*terminal
	last      func() string // what the commands of the last block have printed
	repeat    func()        // types them again; nil for those in the background

	theirs, ours *strings.Replacer // replace the ports of READMEs, and back
}

func newReader(t *testing.T, caddy string) *reader {
	r := &reader{T: t}
	var there, back []string
	port := make(map[int]int)
	use := func(documented, actual int) {
		port[documented] = actual
		there = append(there, strconv.Itoa(documented), strconv.Itoa(actual))
		back = append(back, strconv.Itoa(actual), strconv.Itoa(documented))
	}
	for i, actual := range freePorts(t, 4) { // some Caddyfiles have a range of them
		use(9001+i, actual)
	}
	for _, documented := range []int{2019, 2020, 2021, 5432, 6379, 6380, 6381, 6443, 8008, 8080, 8081, 8082, 8500, 9009, 9011, 9012} {
		use(documented, freePort(t))
	}
	r.theirs, r.ours = strings.NewReplacer(there...), strings.NewReplacer(back...)
	r.dir = r.checkout(caddy)
	home := t.TempDir()
	r.env = append(os.Environ(), fmt.Sprintf("CADDY_ADMIN=localhost:%d", port[2019]),
		"HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_DATA_HOME="+home, "XDG_RUNTIME_DIR="+home,
		"GOCACHE="+goEnv(t, "GOCACHE"), "GOMODCACHE="+goEnv(t, "GOMODCACHE"))
	r.shell = startShell(t, r.dir, r.env)
	t.Cleanup(func() { // what the examples of checks leave if the test fails
		for documented := 9001; documented <= 9004; documented++ {
			os.Remove(fmt.Sprintf("/tmp/ill-%d", port[documented]))
			os.Remove(fmt.Sprintf("/tmp/broken-%d", port[documented]))
		}
		for _, host := range []string{"127.0.0.1", "127.0.0.2"} {
			os.Remove(fmt.Sprintf("/tmp/primary-%s-%d", host, port[8008]))
		}
	})
	return r
}

func goEnv(t *testing.T, name string) string {
	return strings.TrimSpace(run(t, ".", "go", "env", name))
}

// otherPorts finds ports in Caddyfiles that newReader does not replace.
var otherPorts = regexp.MustCompile(`:[0-9]{4}\b`)

// checkout returns a directory with a built caddy, and with the examples.
func (r *reader) checkout(caddy string) string {
	r.Helper()
	dir := r.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "examples"), os.DirFS(filepath.Join(repository, "examples"))); err != nil {
		r.Fatal(err)
	}
	edit := func(name string) {
		text, err := os.ReadFile(name)
		if err != nil {
			r.Fatal(err)
		}
		replaced := r.theirs.Replace(string(text))
		if found := otherPorts.FindString(replaced); found != "" {
			r.Fatalf("%s: the port %s is not replaced", name, found)
		}
		if err := os.WriteFile(name, []byte(replaced), 0o600); err != nil {
			r.Fatal(err)
		}
	}
	all, _ := filepath.Glob(filepath.Join(dir, "examples", "*", "*Caddyfile"))
	for _, name := range append(all, filepath.Join(dir, "examples", "quickstart", "demo.sh")) {
		edit(name)
	}
	if mod, err := os.ReadFile(filepath.Join(repository, "go.mod")); err != nil || os.WriteFile(filepath.Join(dir, "go.mod"), mod, 0o600) != nil {
		r.Fatal("go.mod is not copied: ", err)
	}
	binary, err := filepath.Abs(caddy)
	if err == nil {
		err = os.Symlink(binary, filepath.Join(dir, "caddy"))
	}
	if err != nil {
		r.Fatal(err)
	}
	return dir
}

// read follows a README to its end.
func (r *reader) read(blocks []fencedBlock) {
	for i := range blocks {
		b := &blocks[i]
		if b.interrupted {
			r.interrupt()
		}
		switch b.kind {
		case "sh":
			r.typeAll(b)
		case "output", "about":
			r.compare(b)
		case "log":
			for line := range strings.Lines(b.text) {
				r.await(b, "the log has: "+line, func() bool { return logged(r.ours.Replace(r.caddy.out.String()), line) })
			}
		}
	}
	r.interrupt()
}

// typeAll types the commands of a block.
func (r *reader) typeAll(b *fencedBlock) {
	commands := slices.DeleteFunc(b.commands(r.T), func(command string) bool { return notTyped[command] != "" })
	var behind string
	if b.background && len(commands) > 0 {
		behind = commands[len(commands)-1]
		commands = commands[:len(commands)-1]
	}
	var output string
	r.repeat = func() {
		output = ""
		for _, command := range commands {
			status, out := r.shell.run(r.theirs.Replace(command))
			if output += out; status != 0 {
				r.Fatalf("line %d: status %d of %s\n%s", b.line, status, command, out)
			}
		}
	}
	r.repeat()
	if r.last = func() string { return output }; behind == "" {
		return
	}
	terminal := openTerminal(r.T, r.dir, r.env, r.theirs.Replace(behind))
	r.last, r.repeat = terminal.out.String, nil
	what, ready := "it prints something", func() bool { return terminal.out.String() != "" }
	if strings.HasPrefix(behind, "./caddy run ") {
		r.caddy = terminal
		what, ready = "Caddy serves", func() bool { return terminal.out.count("serving initial configuration", nil) > 0 }
	} else {
		r.terminals = append(r.terminals, terminal)
	}
	r.await(b, what, func() bool {
		select {
		case <-terminal.ended:
			r.Fatalf("line %d: it ended: %s\n%s", b.line, behind, terminal.out)
		default:
		}
		return ready()
	})
}

// compare compares what was printed with what is promised. What it takes the probes a
// moment to find out may be asked again.
func (r *reader) compare(b *fencedBlock) {
	first := r.ours.Replace(r.last())
	if printed(first, b.text, b.kind == "about") {
		return
	}
	r.await(b, "it prints\n"+b.text+"at first it printed\n"+first, func() bool {
		if r.repeat != nil {
			r.repeat()
		}
		return printed(r.ours.Replace(r.last()), b.text, b.kind == "about")
	})
}

// await waits until cond holds, or fails the test with what there is.
func (r *reader) await(b *fencedBlock, what string, cond func() bool) {
	r.Helper()
	for end := time.Now().Add(patience); !cond(); <-time.After(100 * time.Millisecond) {
		if time.Now().After(end) {
			r.Fatalf("line %d: not within %v: %s\nprinted was:\n%s\nthe end of Caddy's log:\n%s", b.line, patience, what, r.last(), r.caddy.out.tail(20))
		}
	}
}

// interrupt ends the commands in the background, other than Caddy.
func (r *reader) interrupt() {
	for _, terminal := range r.terminals {
		terminal.interrupt()
	}
	r.terminals = nil
}

// terminal is one in which a command runs until it is interrupted.
type terminal struct {
	t     *testing.T
	cmd   *exec.Cmd
	out   *logs
	ended chan struct{}
}

func openTerminal(t *testing.T, dir string, env []string, command string) *terminal {
	t.Helper()
	c := &terminal{t, exec.Command("sh", "-c", command), new(logs), make(chan struct{})}
	c.cmd.Dir, c.cmd.Env, c.cmd.Stdout, c.cmd.Stderr = dir, env, c.out, c.out
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.ended)
		_ = c.cmd.Wait() // until all have ended that print to it
	}()
	t.Cleanup(c.interrupt)
	return c
}

// interrupt does what Ctrl-C does. It may be called again.
func (c *terminal) interrupt() {
	select {
	case <-c.ended:
		return
	default:
	}
	_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGINT)
	select {
	case <-c.ended:
	case <-time.After(soon):
		_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
		c.t.Errorf("%s did not end within %v of Ctrl-C", c.cmd.Args[2], soon)
	}
	for _, fault := range c.out.faults() {
		c.t.Errorf("a fault: %s", fault)
	}
}

// shell is one that commands are typed in: it keeps variables and directory.
type shell struct {
	t        *testing.T
	dir      string // for what it needs itself
	in       io.WriteCloser
	statuses chan string
}

func startShell(t *testing.T, dir string, env []string) *shell {
	t.Helper()
	s := &shell{t: t, dir: t.TempDir(), statuses: make(chan string)}
	cmd := exec.Command("sh")
	cmd.Dir, cmd.Env = dir, env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	statuses, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.ExtraFiles = []*os.File{theirs}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	s.in = in
	go func() {
		defer close(s.statuses)
		for lines := bufio.NewScanner(statuses); lines.Scan(); {
			s.statuses <- lines.Text()
		}
	}()
	t.Cleanup(func() {
		in.Close()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		for range s.statuses {
		}
		statuses.Close()
	})
	return s
}

// run types a command, and returns its status and what it has printed.
func (s *shell) run(command string) (int, string) {
	s.t.Helper()
	typed, out := filepath.Join(s.dir, "typed"), filepath.Join(s.dir, "out")
	if err := os.WriteFile(typed, []byte(command+"\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	fmt.Fprintf(s.in, ". %s < /dev/null > %s 2>&1 3>&-; echo $? >&3\n", typed, out)
	select {
	case line, ok := <-s.statuses:
		text, _ := os.ReadFile(out)
		status, err := strconv.Atoi(line)
		if !ok || err != nil {
			s.t.Fatalf("the shell ended at %s\n%s", command, text)
		}
		return status, string(text)
	case <-time.After(patience):
		text, _ := os.ReadFile(out)
		s.t.Fatalf("not within %v: %s\n%s", patience, command, text)
	}
	return 0, ""
}
