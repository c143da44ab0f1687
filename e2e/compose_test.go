// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// composeService is one of a compose file, with the fields that the example uses.
type composeService struct {
	Image string `yaml:"image"`
	Build struct {
		Context    string `yaml:"context"`
		Dockerfile string `yaml:"dockerfile"`
	} `yaml:"build"`
	Hostname    string            `yaml:"hostname"`
	Ports       []string          `yaml:"ports"`
	Volumes     []string          `yaml:"volumes"`
	DependsOn   []string          `yaml:"depends_on"`
	Environment map[string]string `yaml:"environment"`
	Command     []string          `yaml:"command"`
	Networks    []string          `yaml:"networks"`
	Labels      map[string]string `yaml:"labels"`
	StopSignal  string            `yaml:"stop_signal"`
	StopGrace   time.Duration     `yaml:"stop_grace_period"`
	Healthcheck struct {
		Test     string        `yaml:"test"`
		Interval time.Duration `yaml:"interval"`
	} `yaml:"healthcheck"`
	Deploy struct {
		Replicas     int `yaml:"replicas"`
		UpdateConfig struct {
			Order string `yaml:"order"`
		} `yaml:"update_config"`
	} `yaml:"deploy"`
}

type composeFile struct {
	Name     string                    `yaml:"name"`
	Services map[string]composeService `yaml:"services"`
	Volumes  map[string]struct{}       `yaml:"volumes"`
	Networks map[string]struct {
		Name     string `yaml:"name"`
		Internal bool   `yaml:"internal"`
	} `yaml:"networks"`
}

// dockerSocket is the socket of the engine on the host, which is as good as root.
const dockerSocket = "/var/run/docker.sock"

var (
	// exactImage is an image with a version of three numbers.
	exactImage = regexp.MustCompile(`^[a-z/-]+:v?\d+\.\d+\.\d+(-[a-z0-9.]+)?$`)
	// loopbackPort is a port that is published on the loopback address only.
	loopbackPort = regexp.MustCompile(`^127\.0\.0\.1:\d+:(\d+)$`)
)

// decodeYAML reads a file strictly: fields that v lacks are errors.
func decodeYAML(t *testing.T, file string, v any) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d := yaml.NewDecoder(f)
	d.KnownFields(true)
	if err := d.Decode(v); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if err := d.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		t.Fatalf("%s has a second document: %v", file, err)
	}
}

// composeText returns a file of examples/compose.
func composeText(t *testing.T, elements ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{repository, "examples", "compose"}, elements...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The compose file names what exists: services, ports, and the backends of the Caddyfile.
func TestCompose(t *testing.T) {
	c := checkCompose(t, filepath.Join(repository, "examples", "compose"))
	caddyfile := composeText(t, "Caddyfile")
	for _, p := range c.Services["ballast"].Ports {
		if m := loopbackPort.FindStringSubmatch(p); m != nil && !strings.Contains(caddyfile, "\n:"+m[1]+" {") {
			t.Errorf("the Caddyfile has no site at port %s", m[1])
		}
	}
	var backends []string
	for _, b := range regexp.MustCompile(`backend (\w+:80) \{`).FindAllStringSubmatch(caddyfile, -1) {
		backends = append(backends, b[1])
	}
	c.checkBackends(t, backends)
}

// The same of the fleet. Its Caddys have one configuration, and differ in their names.
func TestComposeFleet(t *testing.T) {
	dir := filepath.Join(repository, "examples", "fleet")
	c := checkCompose(t, dir)
	text, err := os.ReadFile(filepath.Join(dir, "Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	known := make(map[string]bool)
	for _, m := range regexp.MustCompile(`\{\$(\w+):`).FindAllStringSubmatch(string(text), -1) {
		known[m[1]] = true
	}
	for _, name := range []string{"one", "two", "three"} {
		s := c.Services[name]
		for variable := range s.Environment {
			if !known[variable] {
				t.Errorf("%s: the Caddyfile does not know %s", name, variable)
			}
		}
		host, _, _ := strings.Cut(s.Environment["REDIS"], ":")
		if _, ok := c.Services[host]; !ok || s.Environment["NAME"] != name {
			t.Errorf("the environment of %s is %v", name, s.Environment)
		}
		c.checkBackends(t, strings.Fields(s.Environment["BACKENDS"]))
	}
}

// The containers of examples/docker are those that the Caddyfile looks for, in a network that Caddy
// shares with them. Caddy reaches no more of the engine than it needs, and nobody else reaches it.
func TestComposeDocker(t *testing.T) {
	dir := filepath.Join(repository, "examples", "docker")
	c := checkCompose(t, dir)
	caddyfile := composeText(t, "..", "docker", "Caddyfile")
	option := func(pattern string) string {
		m := regexp.MustCompile(`(?m)^\t+` + pattern).FindStringSubmatch(caddyfile)
		if m == nil {
			t.Fatalf("the Caddyfile has no %s", pattern)
		}
		return m[1]
	}
	ballast, docker, web := c.Services["ballast"], c.Services["docker"], c.Services["web"]

	key, value, _ := strings.Cut(option(`label (\S+)`), "=")
	if web.Labels[key] != value {
		t.Errorf("the labels of web are %v", web.Labels)
	}
	network := option(`network (\S+)`)
	for name, s := range map[string]composeService{"web": web, "ballast": ballast} {
		if !slices.ContainsFunc(s.Networks, func(n string) bool { return c.Networks[n].Name == network }) {
			t.Errorf("%s is not in the network %s: %v", name, network, s.Networks)
		}
	}
	if port := option(`port (\d+)`); port != "80" || !strings.HasPrefix(web.Image, "nginx:") || web.StopSignal != "SIGQUIT" {
		t.Errorf("port %s of %s, which ends on %s", port, web.Image, web.StopSignal)
	}
	if !strings.Contains(web.Healthcheck.Test, "http://127.0.0.1/") || web.Healthcheck.Interval <= 0 || web.Deploy.Replicas < 2 || web.Deploy.UpdateConfig.Order != "start-first" {
		t.Errorf("web is %+v", web)
	}
	for _, m := range regexp.MustCompile(`--(?:timeout|time) (\d+)`).FindAllStringSubmatch(composeText(t, "..", "docker", "README.md"), -1) {
		if m[1]+"s" != web.StopGrace.String() {
			t.Errorf("the README waits %ss, the compose file %v", m[1], web.StopGrace)
		}
	}
	for _, p := range ballast.Ports {
		if m := loopbackPort.FindStringSubmatch(p); m != nil && !strings.Contains(caddyfile, "\n:"+m[1]+" {") {
			t.Errorf("the Caddyfile has no site at port %s", m[1])
		}
	}

	host, known := ballast.Environment[option(`host \{\$(\w+):`)]
	if !known || host != "tcp://docker:2375" {
		t.Errorf("the API is at %q", host)
	}
	if len(docker.Environment) != 2 || docker.Environment["CONTAINERS"] != "1" || docker.Environment["EVENTS"] != "1" || len(docker.Ports) > 0 {
		t.Errorf("the proxy of the API allows %v, at %v", docker.Environment, docker.Ports)
	}
	for _, n := range docker.Networks {
		if !c.Networks[n].Internal || !slices.Contains(ballast.Networks, n) || slices.Contains(web.Networks, n) {
			t.Errorf("the network %s of the API", n)
		}
	}
}

// checkBackends checks that three backends of a Caddyfile are nginx containers of these names.
func (c *composeFile) checkBackends(t *testing.T, backends []string) {
	t.Helper()
	for _, b := range backends {
		host, port, _ := strings.Cut(b, ":")
		if s := c.Services[host]; port != "80" || !strings.HasPrefix(s.Image, "nginx:") || s.Hostname != host {
			t.Errorf("the backend %s of the Caddyfile is not an nginx of that name: %+v", b, s)
		}
	}
	if len(backends) != 3 {
		t.Errorf("the Caddyfile has %d backends", len(backends))
	}
}

// checkCompose checks that the compose file of a folder names what exists: files, volumes, services.
// Ports are published on the loopback address only, and images have exact versions.
func checkCompose(t *testing.T, dir string) (c composeFile) {
	t.Helper()
	decodeYAML(t, filepath.Join(dir, "compose.yaml"), &c)
	for name, s := range c.Services {
		switch {
		case s.Image != "":
			if !exactImage.MatchString(s.Image) {
				t.Errorf("%s: the image %s has no exact version", name, s.Image)
			}
		default:
			context := filepath.Join(dir, s.Build.Context)
			if _, err := os.Stat(filepath.Join(context, s.Build.Dockerfile)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if _, err := os.Stat(filepath.Join(context, "cmd", "caddy")); err != nil {
				t.Errorf("%s: the context is not the top of the repository: %v", name, err)
			}
		}
		for _, p := range s.Ports {
			if !loopbackPort.MatchString(p) {
				t.Errorf("%s: the port %s is not published on the loopback address only", name, p)
			}
		}
		for _, v := range s.Volumes {
			source, rest, _ := strings.Cut(v, ":")
			if source == dockerSocket && strings.HasPrefix(s.Image, "tecnativa/docker-socket-proxy:") && rest == dockerSocket+":ro" {
				continue
			}
			if !strings.HasPrefix(source, ".") {
				if _, ok := c.Volumes[source]; !ok {
					t.Errorf("%s: there is no volume %s", name, source)
				}
				continue
			}
			if info, err := os.Stat(filepath.Join(dir, source)); err != nil || !info.Mode().IsRegular() {
				t.Errorf("%s: %s is no file: %v", name, source, err)
			}
			if !strings.HasPrefix(rest, "/") || !strings.HasSuffix(rest, ":ro") {
				t.Errorf("%s: %s is not mounted for reading only", name, v)
			}
		}
		for _, n := range s.Networks {
			if _, ok := c.Networks[n]; !ok {
				t.Errorf("%s: there is no network %s", name, n)
			}
		}
		for _, other := range s.DependsOn {
			if _, ok := c.Services[other]; !ok {
				t.Errorf("%s depends on %s, which is no service", name, other)
			}
		}
	}
	return c
}

// The Dockerfiles have exact versions, and a Go that can build this module.
func TestComposeDockerfile(t *testing.T) {
	for _, example := range []string{"compose", "fleet"} {
		t.Run(example, func(t *testing.T) { checkDockerfile(t, composeText(t, "..", example, "Dockerfile")) })
	}
}

func checkDockerfile(t *testing.T, text string) {
	mod, err := os.ReadFile(filepath.Join(repository, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	needs := regexp.MustCompile(`(?m)^go (\d+\.\d+)\.\d+$`).FindStringSubmatch(string(mod))
	images := regexp.MustCompile(`(?m)^FROM (\S+)`).FindAllStringSubmatch(text, -1)
	if needs == nil || len(images) != 2 {
		t.Fatalf("go.mod needs %v, the Dockerfile has %v", needs, images)
	}
	for _, m := range images {
		if !exactImage.MatchString(m[1]) {
			t.Errorf("the image %s has no exact version", m[1])
		}
	}
	if !strings.HasPrefix(images[0][1], "golang:"+needs[1]+".") {
		t.Errorf("the Dockerfile builds with %s, go.mod needs %s", images[0][1], needs[1])
	}
}

// Prometheus scrapes the port with the metrics, and Grafana finds Prometheus and the dashboard.
func TestComposeProvisioning(t *testing.T) {
	dir := filepath.Join(repository, "examples", "compose")
	var c composeFile
	decodeYAML(t, filepath.Join(dir, "compose.yaml"), &c)

	var prometheus struct {
		Global struct {
			ScrapeInterval string `yaml:"scrape_interval"`
		} `yaml:"global"`
		ScrapeConfigs []struct {
			JobName       string `yaml:"job_name"`
			StaticConfigs []struct {
				Targets []string `yaml:"targets"`
			} `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	decodeYAML(t, filepath.Join(dir, "prometheus.yaml"), &prometheus)
	if got := prometheus.ScrapeConfigs[0].StaticConfigs[0].Targets; !slices.Equal(got, []string{"ballast:8081"}) {
		t.Errorf("the targets are %v", got)
	}
	if _, site, _ := strings.Cut(composeText(t, "Caddyfile"), "\n:8081 {"); !strings.Contains(site, "metrics /metrics") {
		t.Error("the site at port 8081 has no metrics")
	}

	var sources struct {
		APIVersion  int `yaml:"apiVersion"`
		Datasources []struct {
			Name, Type, Access, URL string
			IsDefault               bool              `yaml:"isDefault"`
			JSONData                map[string]string `yaml:"jsonData"`
		} `yaml:"datasources"`
	}
	decodeYAML(t, filepath.Join(dir, "grafana", "datasources.yaml"), &sources)
	if s := sources.Datasources[0]; s.Type != "prometheus" || s.URL != "http://prometheus:9090" || !s.IsDefault {
		t.Errorf("the data source is %+v", s)
	}
	var dashboards struct {
		APIVersion int `yaml:"apiVersion"`
		Providers  []struct {
			Name, Type string
			Options    struct{ Path string }
		}
	}
	decodeYAML(t, filepath.Join(dir, "grafana", "dashboards.yaml"), &dashboards)
	path := dashboards.Providers[0].Options.Path
	mounted := slices.ContainsFunc(c.Services["grafana"].Volumes, func(v string) bool {
		return strings.HasPrefix(v, "../grafana/dashboard.json:"+path+"/")
	})
	if path == "" || !mounted {
		t.Errorf("the dashboard is not in %q: %v", path, c.Services["grafana"].Volumes)
	}
	var dashboard struct{ UID string }
	if err := json.Unmarshal([]byte(composeText(t, "..", "grafana", "dashboard.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	if link := "http://localhost:3000/d/" + dashboard.UID; !strings.Contains(composeText(t, "README.md"), link+" ") {
		t.Errorf("the README does not name %s", link)
	}
}
