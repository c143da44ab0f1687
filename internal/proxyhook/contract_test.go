// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package proxyhook

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// The tests TestCaddyContract... hold what docs/decisions/002-seam.md relies on against
// the version of Caddy in go.mod: run them first when that changes.

// reverseProxySource parses Caddy's package reverseproxy.
func reverseProxySource(t *testing.T) (files []*ast.File) {
	t.Helper()
	out, err := exec.Command("go", "list", "-f", "{{.Dir}}", "github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := strings.TrimSpace(string(out))
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %v", dir, err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

// The optional interfaces of transports are those that Caddy asserts a transport to
// have. The wrapper must have their methods, or the wrapped transport seems to lack them.
func TestCaddyContractOptionalInterfaces(t *testing.T) {
	interfaces := make(map[string][]string)
	asserted := make(map[string]bool)
	for _, f := range reverseProxySource(t) {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.TypeSpec:
				if i, ok := n.Type.(*ast.InterfaceType); ok {
					for _, m := range i.Methods.List {
						for _, name := range m.Names {
							interfaces[n.Name.Name] = append(interfaces[n.Name.Name], name.Name)
						}
					}
				}
			case *ast.TypeAssertExpr:
				x, isSelector := n.X.(*ast.SelectorExpr)
				of, isName := n.Type.(*ast.Ident)
				if isSelector && isName && (x.Sel.Name == "Transport" || x.Sel.Name == "transport") {
					asserted[of.Name] = true
				}
			}
			return true
		})
	}
	proxy := reflect.TypeFor[*Proxy]()
	found := 0
	for name, methods := range interfaces {
		if !asserted[name] && !strings.HasSuffix(name, "Transport") {
			continue
		}
		found++
		for _, method := range methods {
			if !ast.IsExported(method) {
				continue
			}
			if _, ok := proxy.MethodByName(method); !ok {
				t.Errorf("a transport may implement %s of reverse_proxy, and Proxy does not forward %s", name, method)
			}
		}
	}
	if found < 6 {
		t.Errorf("found %d optional interfaces in Caddy's source, of %v; they may be named otherwise now", found, slices.Sorted(func(yield func(string) bool) {
			for name := range interfaces {
				if !yield(name) {
					return
				}
			}
		}))
	}
}

// The fields that Ballast sets or replaces in a provisioned proxy are exported, and of
// the types that it expects.
func TestCaddyContractFields(t *testing.T) {
	want := map[string][]string{
		"Handler":       {"Transport", "LoadBalancing", "DynamicUpstreams", "DynamicUpstreamsRaw", "Upstreams", "HealthChecks", "CB", "HandleResponse"},
		"LoadBalancing": {"SelectionPolicy", "Retries", "TryDuration", "TryInterval", "RetryMatch"},
		"Upstream":      {"Host", "Dial", "MaxRequests"},
		"HTTPTransport": {"Transport", "TLS", "Resolver", "ProxyProtocol", "Versions", "DialTimeout"},
	}
	fields := make(map[string][]string)
	for _, f := range reverseProxySource(t) {
		ast.Inspect(f, func(n ast.Node) bool {
			if ts, ok := n.(*ast.TypeSpec); ok {
				if s, ok := ts.Type.(*ast.StructType); ok {
					for _, field := range s.Fields.List {
						for _, name := range field.Names {
							fields[ts.Name.Name] = append(fields[ts.Name.Name], name.Name)
						}
						if star, ok := field.Type.(*ast.StarExpr); ok && len(field.Names) == 0 {
							if id, ok := star.X.(*ast.Ident); ok {
								fields[ts.Name.Name] = append(fields[ts.Name.Name], id.Name)
							}
						}
						if id, ok := field.Type.(*ast.Ident); ok && len(field.Names) == 0 {
							fields[ts.Name.Name] = append(fields[ts.Name.Name], id.Name)
						}
					}
				}
			}
			return true
		})
	}
	for name, list := range want {
		for _, field := range list {
			if !slices.Contains(fields[name], field) {
				t.Errorf("reverseproxy.%s has no field %s any more", name, field)
			}
		}
	}
}
