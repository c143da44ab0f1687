// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// comingFrom returns the blocks of a page of docs/coming-from whose fences have this text.
func comingFrom(t testing.TB, page, info string) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, "docs", "coming-from", page+".md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range regexp.MustCompile("(?ms)^```"+regexp.QuoteMeta(info)+"\n(.*?)^```$").FindAllSubmatch(text, -1) {
		blocks = append(blocks, string(b[1]))
	}
	if len(blocks) == 0 {
		t.Fatalf("%s.md has no block `%s`", page, info)
	}
	return blocks
}

// program returns the path of a program, or skips the test.
func program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + name) // which is not in everybody's PATH
	}
	if err != nil {
		t.Skipf("there is no %[1]s here, so it is not tested with one; its package is %[1]s", name)
	}
	return path
}

// accepts has a program check a configuration.
func accepts(t *testing.T, path string, args ...string) {
	t.Helper()
	if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// certificateFiles writes a certificate, one file with its key and one with the key alone.
func certificateFiles(t *testing.T, dir string) (both, key string) {
	t.Helper()
	certificate, text := selfSigned(t, "www.example.com")
	der, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return write(t, dir, "site.pem", string(text)+string(private)), write(t, dir, "site.key", string(private))
}

// TestComingFromHAProxyConfiguration has HAProxy check what the page has of it.
func TestComingFromHAProxyConfiguration(t *testing.T) {
	path := program(t, "haproxy")
	dir := t.TempDir()
	certificate, _ := certificateFiles(t, dir)
	for _, text := range comingFrom(t, "haproxy", "haproxy") {
		accepts(t, path, "-c", "-f", write(t, dir, "haproxy.cfg", strings.ReplaceAll(text, "/etc/haproxy/site.pem", certificate)))
	}
}

// commercial are the parts of a configuration of NGINX Plus that Debian's nginx does not know.
var commercial = regexp.MustCompile(`(?ms)^\tmatch \w+ \{.*?^\t\}\n|^\t*(state|sticky|queue|health_check|api) [^;\n]*;\n`)

// TestComingFromNginxConfiguration does the same with nginx, and with what of NGINX Plus' it knows.
func TestComingFromNginxConfiguration(t *testing.T) {
	path := program(t, "nginx")
	dir := t.TempDir()
	certificate, key := certificateFiles(t, dir)
	plus := commercial.ReplaceAllString(strings.Join(comingFrom(t, "nginx", "nginx plus"), ""), "")
	plus = "events {\n}\n" + strings.ReplaceAll(plus, "zone web 64k;", "zone web 64k; server 127.0.0.1:1;") // that of `state`
	for _, text := range append(comingFrom(t, "nginx", "nginx"), plus) {
		text = strings.NewReplacer("/etc/nginx/site.pem", certificate, "/etc/nginx/site.key", key).Replace(text)
		accepts(t, path, "-t", "-e", "stderr", "-p", dir, "-c", write(t, dir, "nginx.conf", nginxFiles(dir, text)))
	}
}

// nginxFiles has nginx write nothing outside a directory.
func nginxFiles(dir, text string) string {
	paths := "access_log off;\n"
	for _, of := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		paths += of + "_temp_path " + dir + ";\n"
	}
	return "pid " + dir + "/pid;\n" + strings.Replace(text, "http {\n", "http {\n"+paths, 1)
}

func write(t testing.TB, dir, name, text string) (file string) {
	t.Helper()
	file = filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestComingFromYAML reads the configurations of others, whose programs are not here: they
// are YAML, and no key is there twice.
func TestComingFromYAML(t *testing.T) {
	for page, infos := range map[string][]string{
		"traefik": {"yaml traefik", "yaml compose"}, "envoy": {"yaml envoy"}, "ingress-nginx": {"yaml ingress"},
	} {
		for _, info := range infos {
			for _, text := range comingFrom(t, page, info) {
				d := yaml.NewDecoder(bytes.NewReader([]byte(text)))
				documents := 0
				for {
					var document map[string]any
					err := d.Decode(&document)
					if errors.Is(err, io.EOF) {
						break
					}
					if err != nil {
						t.Fatalf("%s, %s: %v", page, info, err)
					}
					documents++
				}
				if documents == 0 {
					t.Errorf("%s, %s: nothing is in it", page, info)
				}
			}
		}
	}
}
