// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package ballast_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"

	"github.com/ballast-lb/caddy-ballast/internal/lbtest"
)

// TestCaddyfileOptions tests every option of every module in a Caddyfile. The options of a block
// are those that the error for an unknown option lists; their arguments are those of the `Syntax:`
// block in the source; their bounds are those that their errors state. Each of these must be
// refused with the line, the name of the option and what to write instead: an unknown option, an
// option given twice, a missing, an extra and a bad argument, a value just out of bounds, and a
// block that does not belong there. An option that may be repeated must not lose a value.
func TestCaddyfileOptions(t *testing.T) {
	w := &optionWalk{T: t, docs: synopses(t), seen: make(map[string]bool)}
	for _, id := range caddy.Modules() {
		info, err := caddy.GetModule(id)
		if err != nil {
			t.Fatal(err)
		}
		mod := info.New()
		if !ours(mod) {
			continue
		}
		frame, known := frames[info.ID.Namespace()]
		if _, ok := mod.(caddyfile.Unmarshaler); !known && ok {
			t.Errorf("%s: add how modules of %q are written to frames", id, info.ID.Namespace())
		} else if known && (ok || info.ID.Namespace() == "http.handlers") {
			w.module(frame, info.ID.Name(), packageOf(mod))
		}
	}
	for _, s := range w.docs {
		for _, child := range s.children {
			child.unseen(func(s *synopsis) {
				if !w.seen[s.dir+" "+s.name] {
					t.Errorf("%s: the synopsis has an option %q, and no parser has", s.dir, s.name)
				}
			})
		}
	}
	if w.options < 200 {
		t.Errorf("tested %d options only", w.options)
	}
	t.Logf("tested %d options with %d configurations", w.options, w.configs)
}

// frames are the Caddyfiles around modules, by namespace. The module takes the place of the line
// with its head, %s.
var frames = map[string]frame{
	"":                                      {"{\n\t", "%s", "\n}\n"},
	"http.handlers":                         {":80\n", "%s", "\n"},
	"ballast.checks":                        {":80\nreverse_proxy {\n\tdynamic pool {\n\t\tto 10.0.0.1:80\n\t\t", "health %s", "\n\t}\n}\n"},
	"ballast.discovery":                     {":80\nreverse_proxy {\n\tdynamic pool {\n\t\t", "from %s", "\n\t}\n}\n"},
	"ballast.fleet":                         {"{\n\tballast {\n\t\tfleet {\n\t\t\t", "store %s", "\n\t\t}\n\t}\n}\n"},
	"ballast.sessions":                      {":80\nreverse_proxy 10.0.0.1:80 {\n\tlb_policy sticky {\n\t\tclient_ip\n\t\t", "store %s", "\n\t}\n}\n"},
	"layer4.handlers":                       {"{\n\tballast {\n\t\tpool a {\n\t\t\tto 10.0.0.1:80\n\t\t}\n\t}\n\tlayer4 {\n\t\t:81 {\n\t\t\troute {\n\t\t\t\t", "%s", "\n\t\t\t}\n\t\t}\n\t}\n}\n"},
	"http.reverse_proxy.upstreams":          {":80\nreverse_proxy {\n\t", "dynamic %s", "\n}\n"},
	"http.reverse_proxy.selection_policies": {":80\nreverse_proxy 10.0.0.1:80 {\n\t", "lb_policy %s", "\n}\n"},
}

// frame is a Caddyfile around a line, or around a block with its first line.
type frame struct{ before, line, after string }

// inside returns the frame of the options in the block of a line.
func (f frame) inside(line string) frame {
	return frame{f.before + fmt.Sprintf(f.line, line) + " {\n", "%s", "\n}" + f.after}
}

// number returns the number of the framed line.
func (f frame) number() int { return strings.Count(f.before, "\n") + 1 }

func packageOf(mod caddy.Module) string {
	typ := reflect.TypeOf(mod)
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	return typ.PkgPath()
}

// ours reports whether a module is Ballast's, and not that of a test.
func ours(mod caddy.Module) bool {
	pkg := packageOf(mod)
	return strings.HasPrefix(pkg, module+"/") && !strings.HasSuffix(pkg, "_test")
}

// synopsis is one line of a `Syntax:` block with the lines in its block.
type synopsis struct {
	dir, name string
	args      []argument
	block     bool // may have a block
	children  []*synopsis
}

// argument is one argument of a synopsis.
type argument struct {
	words              []string // alternatives: literal words and placeholders
	optional, variadic bool
}

func (s *synopsis) unseen(report func(*synopsis)) {
	report(s)
	for _, c := range s.children {
		c.unseen(report)
	}
}

// required returns the number of arguments that must be given.
func (s *synopsis) required() (n int) {
	for _, a := range s.args {
		if !a.optional {
			n++
		}
	}
	return n
}

var (
	comment  = regexp.MustCompile(`\s*#.*`)
	matchers = regexp.MustCompile(`\[<matcher>\]\s*|\[\{ \.\.\. \}\]`)
	modes    = regexp.MustCompile(`\[(\w[^|]* \| .*)\]`) // each with arguments of its own
)

// synopses returns the first lines of all `Syntax:` blocks.
func synopses(t *testing.T) (all []*synopsis) {
	for _, s := range configured(t) {
		for _, d := range s.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Doc == nil {
				continue
			}
			_, text, ok := strings.Cut(f.Doc.Text(), "Syntax:\n")
			if !ok {
				continue
			}
			path := []*synopsis{{}}
			for line := range strings.Lines(text) {
				bare := comment.ReplaceAllString(strings.TrimRight(line, "\n"), "")
				depth := len(bare) - len(strings.TrimLeft(bare, "\t"))
				bare = strings.TrimSpace(bare)
				if depth == 0 || bare == "" || bare == "}" {
					continue
				}
				n := parseSynopsis(s.dir(), bare)
				if m := modes.FindStringSubmatch(bare); m != nil {
					for mode := range strings.SplitSeq(m[1], " | ") {
						name, args, _ := strings.Cut(mode, " ")
						all = append(all, parseSynopsis(s.dir(), name+" "+args))
						all[len(all)-1].name = n.name + " " + name
					}
				}
				parent := path[depth-1]
				parent.children = append(parent.children, n)
				path = append(path[:depth], n)
			}
			all = append(all, path[0].children...)
		}
	}
	return all
}

func parseSynopsis(dir, line string) *synopsis {
	s := &synopsis{dir: dir}
	line, s.block = strings.CutSuffix(line, "{")
	s.block = s.block || strings.Contains(line, "[{ ... }]")
	words := strings.Fields(matchers.ReplaceAllString(modes.ReplaceAllString(line, ""), ""))
	if slices.Contains([]string{"lb_policy", "dynamic", "health", "store", "from"}, words[0]) && len(words) > 1 && words[1][0] != '<' {
		words = words[1:] // the name of a module, in its option
	}
	s.name = words[0]
	within := false // brackets around several words
	for _, word := range words[1:] {
		if slices.Contains([]string{"[<arg>]", "[<args>]", "[<args...>]"}, word) {
			continue // of another module
		}
		a := argument{}
		word, a.optional = strings.CutPrefix(word, "[")
		a.optional = a.optional || within
		word, within = strings.CutSuffix(word, "]")
		within = a.optional && !within
		a.variadic = strings.Contains(word, "...")
		word = strings.Trim(strings.ReplaceAll(word, "...", ""), "|")
		a.words = strings.Split(word, "|")
		a.optional = a.optional || strings.HasSuffix(line, word+"|") && s.block // `off|{`
		s.args = append(s.args, a)
	}
	return s
}

// needed are options without which a block is refused. Those of modules are tested with the module.
var needed = map[string]string{"fleet": "store caddy", "group": "when method GET"}

// optionWalk tests the options of modules and of blocks inside them.
type optionWalk struct {
	*testing.T
	docs    []*synopsis
	seen    map[string]bool // package and name of the options that were tested
	options int
	configs int
}

// find returns the synopsis of an option: of those of its block, or of another block of its
// package, since a block may refer to another.
func (w *optionWalk) find(name string, in *synopsis) *synopsis {
	child := func(all []*synopsis) *synopsis {
		for _, s := range all {
			if s.name == name {
				return s
			}
		}
		return nil
	}
	if s := child(in.children); s != nil {
		return s
	}
	var found *synopsis
	for _, root := range w.docs {
		root.unseen(func(s *synopsis) {
			if c := child(s.children); found == nil && s.dir == in.dir {
				found = c
			}
		})
	}
	return found
}

// module tests a module: its arguments, then the options in its block.
func (w *optionWalk) module(f frame, name, pkg string) {
	dir := strings.TrimPrefix(pkg, module+"/")
	w.Run(name, func(t *testing.T) {
		sub := *w
		sub.T = t
		var all []*synopsis
		for _, s := range w.docs {
			if s.dir == dir && (s.name == name && (s.block || len(all) == 0) || strings.HasPrefix(s.name, name+" ")) {
				all = append(all, s)
			}
		}
		if len(all) == 0 {
			t.Errorf("no Syntax block in %s has a line for it", dir)
		}
		for _, s := range all {
			sub.line(f, s, true)
		}
		w.options, w.configs = sub.options, sub.configs
	})
}

// line tests one option, or the head of a module, and the options in its block.
func (w *optionWalk) line(f frame, s *synopsis, head bool) {
	w.options++
	w.seen[s.dir+" "+s.name] = true
	if needed[s.name] != "" {
		w.block(f.inside(s.write(s.required(), 0)), s.inner(w.docs))
		return
	}
	good := w.good(f, s)
	full := s.write(len(s.args), 0)
	for _, line := range good {
		if len(strings.Fields(line)) > len(strings.Fields(full))-1 {
			full = line
			break
		}
	}
	if len(good) == 0 && !head { // a head may need an option in its block
		w.Errorf("%s: no sample of its arguments is accepted: %v", s.name, w.adapt(f, s.write(len(s.args), 0)))
		return
	}
	inner, guest := s.inner(w.docs), false
	if s.block && len(inner.children) == 0 {
		guest = true // a module, which is tested itself
	}
	for n := range s.required() {
		if err := w.adapt(f, s.write(n, 0)); err != nil || !head {
			w.refused(f, s, s.write(n, 0), "a missing argument", "")
		}
	}
	if n := len(s.args); !guest && (n == 0 || !s.args[n-1].variadic) {
		w.refused(f, s, full+" surplus", "an extra argument", "surplus")
	}
	for i, a := range s.args {
		for n, bad := range a.bad(s.name) {
			err := w.refused(f, s, s.with(full, i, bad), "a bad value", bad)
			if n > 0 || err == nil {
				continue
			}
			if a.numeric(s.name) {
				w.bounds(f, s, full, i, err)
			} else if rule(err) != "" && !strings.Contains(strings.Join(a.words, ""), "<") && len(a.words) > 1 {
				w.inJSON(f, s, full, i, rule(err), bad)
			}
		}
	}
	if !head {
		w.twice(f, s, good)
	}
	switch {
	case s.block && !guest:
		w.block(f.inside(s.write(s.required(), 0)), inner)
	case !s.block && !head:
		w.refused(f, s, good[0]+" {\n}", "a block", "")
	}
}

// block tests the options of a block.
func (w *optionWalk) block(f frame, s *synopsis) {
	err := w.refused(f, &synopsis{name: "nonesuch"}, "nonesuch", "an unknown option", "")
	if err == nil {
		return
	}
	_, list, ok := strings.Cut(err.Error(), "write one of: ")
	if !ok {
		if len(s.children) > 0 {
			w.Errorf("%s: the options are not listed: %v", s.name, err)
		}
		return
	}
	list, _, _ = strings.Cut(list, ", at Caddyfile:")
	for _, name := range strings.Split(list, ", ") {
		if required := needed[s.name]; required != "" {
			if strings.HasPrefix(required, name+" ") {
				w.seen[s.dir+" "+name] = true
				continue
			}
			g := f
			g.before += required + "\n"
			w.line(g, w.find(name, s), false)
			continue
		}
		if option := w.find(name, s); option != nil {
			w.line(f, option, false)
		} else {
			w.Errorf("%s: option %q is in no Syntax block", s.name, name)
		}
	}
}

// good returns lines of an option with valid arguments, without and with the optional ones.
func (w *optionWalk) good(f frame, s *synopsis) (lines []string) {
	for k := range 8 {
		for _, n := range []int{s.required(), len(s.args)} {
			line := s.write(n, k)
			if slices.Contains(lines, line) {
				continue
			}
			err := w.adapt(f, line)
			if err != nil { // perhaps of another option, which is missing
				err = w.adapt(f, line+"\n"+line)
			}
			if err == nil || strings.Contains(err.Error(), "given twice") {
				lines = append(lines, line)
			}
		}
	}
	return lines
}

// write returns the option with the first n arguments; k chooses among samples.
func (s *synopsis) write(n, k int) string {
	line := s.name
	for _, a := range s.args[:n] {
		all := a.samples(s.name)
		line += " " + all[k%len(all)]
	}
	return line
}

// with replaces argument i of a line.
func (s *synopsis) with(line string, i int, value string) string {
	fields := strings.Fields(line)
	if strings.Contains(value, " ") {
		value = strconv.Quote(value)
	}
	fields[i+len(strings.Fields(s.name))] = value
	return strings.Join(fields, " ")
}

// twice tests that an option that is given twice is refused, or that both count.
func (w *optionWalk) twice(f frame, s *synopsis, good []string) {
	first, second := good[0], good[len(good)-1]
	both, err := w.json(f, first+"\n"+second)
	if err != nil {
		f.before += first + "\n"
		w.refused(f, s, second, "an option that is given twice", "")
		return
	}
	for _, line := range []string{first, second} {
		if one, err := w.json(f, line); err != nil || one == both {
			w.Errorf("%s: %q and %q are as %q alone (%v)", s.name, first, second, line, err)
		}
	}
}

var (
	place     = regexp.MustCompile(`, at Caddyfile:(\d+)(?:, |$)`)
	instructs = regexp.MustCompile(`\bwrite\b|\bmust (?:be|have|not)\b|\bremove\b|\btakes\b|\bstands alone\b|\bgo in a block\b|\bneeds\b`)
)

// refused tests that a line is refused with its number, the name of the option, or what is wrong
// in quotes, and what to write instead. It returns the error.
func (w *optionWalk) refused(f frame, s *synopsis, line, why, wrong string) error {
	err := w.adapt(f, line)
	if err == nil {
		w.Errorf("%s: %s is accepted: %s", s.name, why, line)
		return nil
	}
	text := err.Error()
	if at := place.FindStringSubmatch(text); at == nil || at[1] != strconv.Itoa(f.number()) {
		w.Errorf("%s: the error is not that of line %d: %s: %s", s.name, f.number(), line, text)
	}
	if !strings.Contains(text, s.name) && (wrong == "" || !strings.Contains(text, strconv.Quote(wrong))) {
		w.Errorf("%s: the error does not name the option: %s: %s", s.name, line, text)
	}
	if !instructs.MatchString(text) {
		w.Errorf("%s: the error does not tell what to write: %s: %s", s.name, line, text)
	}
	return err
}

func (w *optionWalk) adapt(f frame, line string) error {
	_, err := w.json(f, line)
	return err
}

var positions = regexp.MustCompile(`,"[a-z_]*position":"[^"]*"|"[a-z_]*position":"[^"]*",?`)

func (w *optionWalk) json(f frame, line string) (string, error) {
	w.configs++
	out, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(f.before+fmt.Sprintf(f.line, line)+f.after), nil)
	return positions.ReplaceAllString(string(out), ""), err
}

// inner returns the synopsis with the options of the block: that of the option itself, or of the
// module or the type that its block refers to.
func (s *synopsis) inner(docs []*synopsis) *synopsis {
	if len(s.children) > 0 {
		return s
	}
	for _, root := range docs {
		if root.name == s.name && len(root.children) > 0 {
			return root
		}
	}
	for _, root := range docs { // `tls`, as for another check
		for _, child := range root.children {
			if child.name == s.name && child.dir == s.dir && len(child.children) > 0 {
				return child
			}
		}
	}
	return s
}

// values are samples of the values of a placeholder, and values that are wrong. A placeholder that
// stands for any text has none that are wrong.
type values struct {
	good, bad []string
	bounded   bool // has bounds, which errors state
}

func sample(good ...string) values           { return values{good: good} }
func (v values) but(bad ...string) values    { return values{v.good, bad, v.bounded} }
func (v values) number(bad ...string) values { return values{v.good, bad, true} }

var (
	text   = sample("a", "b")
	field  = sample("X-A", "X-B")
	whole  = sample("1", "2", "16", "1024", "2048").number("many", "5xx", "-1", "1.5", "99999999999999999999")
	dur    = sample("2s", "1s", "1h").number("soon", "5", "-1s", "9999999h")
	ratio  = sample("34%", "90%").number("most", "34", "0.34", "-1%", "NaN%")
	factor = sample("1.5", "2.5").number("much", "150%", "NaN", "Inf", "-1")
	size   = sample("1MB", "2MB").number("big", "0", "-1MB", "9999999TB")
)

// placeholders has the values of placeholders, of all options or of one.
var placeholders = map[string]values{
	"<n>": whole, "<max_entries>": whole, "<choices>": whole, "<limit>": whole, "retry_budget <min>": whole,
	"<port>": sample("8081", "8082").number(whole.bad...), "queue <size>": sample("8", "9").number(whole.bad...), "<code>": sample("503", "429").number(whole.bad...),
	"<duration>": dur, "<decay>": dur, "<timeout>": dur, "<base>": dur, "<max>": sample("4s", "5s").number(dur.bad...), "<jitter>": dur.number("soon", "-1s"),
	"<ratio>": ratio, "<min_ratio>": ratio, "rebalance <ratio>": factor, "store_timeout <duration>": sample("100ms", "200ms").number(dur.bad...),
	"<factor>": factor, "<k>": factor, "<slope>": factor, "<q>": sample("0.5", "0.6").number(factor.bad...),
	"abort +<ratio>": sample("+1%", "+2%").but("1%", "+1", "+101%"), "steps <ratio>": sample("5%", "6%").number(ratio.bad...),
	"<size>":            size,
	"locality <margin>": sample("20%", "90%").number(ratio.bad...), "<quantile>": sample("95%", "99.9%").number(ratio.bad...), "<matchers>": sample("method GET", "path /a*").but("nonesuch"),
	"<tries>": whole, "<conditions>": sample("connect", "timeout", "502-504").but("refused", "99"), "<methods>": sample("GET", "PUT").but("get"),

	"<codes>": sample("503", "4xx").but("ok", "99", "600", "5xy", "502,503", "504-500"), "<cidr>": sample("10.0.0.0/8", "192.168.0.0/16").but("everywhere", "10.0.0.0/33"),
	"<text>": text, "<secret>": text, "secret <text>": sample(strings.Repeat("a", 16)), "<former>": sample(strings.Repeat("b", 16)), "<value>": text, "<path>": sample("/a", "/b"), "<domain>": text, "<name>": text, "<file>": text, "<cert>": text,
	"<field>": field, "idempotency_header <field>": field.but("Host"), "<regexp>": text.but("("), "expect <text>": text.but("/(/"),
	"<uri>": sample("/a", "/b").but("health", "http://10.0.0.1/"), "<host>": text.but("a/b"), "<method>": sample("GET", "HEAD").but("G(T"), "<service>": text.but("a b"),
	"<address>": sample("10.0.0.7:80", "10.0.0.8:80").but("10.0.0.7:0", "8080"), "<pool>": text.but("a:80"), "<pool-name>": sample("a", "10.0.0.7:80").but("{a}"), "pool <name>": text.but("a/b"), "orca_metric <name>": text.but("a,b", "utilization."),
	"<host:port>": sample("10.0.0.7:80", "10.0.0.8:80").but("10.0.0.7:0"),
	"<key>":       sample("client_ip", "uri").but("client"), "meta <key>": text, "certificate <key>": text, "client_certificate <key>": text,
	"<level>": sample("high", "low").but("urgent"), "<matcher>": sample("/a", "/b").but("@nonesuch"), "<signal>": sample("cpu", "memory").but("load"), ">": sample(">").but("<"),

	"<source>": sample("a a.internal", "a b.internal").but("nonesuch"), "<check>": sample("http", "tcp").but("nonesuch"), "<store>": sample("memory", "memory 2048").but("nonesuch"),
	"prefix <path>": sample("a", "a/b").but("/a"), "<url>": sample("http://10.0.0.1:8080", "https://10.0.0.2").but("ftp://10.0.0.1"), "host <address>": sample("unix:///run/a.sock", "tcp://10.0.0.1:2375").but("a.sock"),
	"<namespace/service>": sample("shop/web", "shop/web:http").but("web"), "<labels>": sample("app=web", "canary").but("=web"), "<tag>": text,
	"<policy>": sample("wrr", "p2c").but("nonesuch"), "transport <name>": sample("http", "fastcgi").but("nonesuch"),
}

// values returns the values of a word of a synopsis.
func (a *argument) values(option, word string) values {
	if v, ok := placeholders[option+" "+word]; ok {
		return v
	}
	return placeholders[word]
}

// numeric reports whether the argument may be a number, which has bounds.
func (a *argument) numeric(option string) bool {
	return slices.ContainsFunc(a.words, func(word string) bool { return a.values(option, word).bounded })
}

func (a *argument) samples(option string) (all []string) {
	for _, word := range a.words {
		if literal := !strings.ContainsAny(word, "<>"); literal {
			all = append(all, word)
		} else {
			all = append(all, a.values(option, word).good...)
		}
	}
	if len(all) == 0 {
		panic(fmt.Sprintf("add values of %v to placeholders", a.words))
	}
	return all
}

func (a *argument) bad(option string) []string {
	for _, word := range a.words {
		if v := a.values(option, word); len(v.good) > 0 {
			return v.bad
		}
	}
	return []string{"nonesuch"}
}

var ranges = []struct {
	text *regexp.Regexp
	of   func(low, high string) (outside, inside []string)
}{
	{regexp.MustCompile(`a whole number from (-?\d+) to (\d+)`), wholeRange},
	{regexp.MustCompile(`a whole number of at least (\d+)()`), wholeRange},
	{regexp.MustCompile(`a duration from (\S+) to (\S+)`), func(low, high string) (outside, inside []string) {
		from, _ := caddy.ParseDuration(low)
		to, _ := caddy.ParseDuration(high)
		return []string{(from - time.Microsecond).String(), (to + time.Second).String()}, []string{low, high}
	}},
	{regexp.MustCompile(`a size from (1) byte to ([\d.]+ .?B)`), func(low, high string) (outside, inside []string) {
		n, _ := humanize.ParseBytes(high)
		return []string{"0", strconv.FormatUint(n+n/10, 10)}, []string{low}
	}},
	{regexp.MustCompile(`a (?:number|ratio) ((?:from|above) [\d.]+%?) (to [\d.]+%?|and at most [\d.]+%?|and below [\d.]+%?)`), func(low, high string) (outside, inside []string) {
		above, below := strings.HasPrefix(low, "above"), strings.HasPrefix(high, "and below")
		low, high = low[strings.LastIndex(low, " ")+1:], high[strings.LastIndex(high, " ")+1:]
		outside, inside = []string{beside(low, -1), beside(high, 1)}, []string{low, high}
		if above {
			outside[0], inside[0] = low, beside(low, 1)
		}
		if below {
			outside[1], inside[1] = high, beside(high, -1)
		}
		return outside, inside
	}},
}

func wholeRange(low, high string) (outside, inside []string) {
	n, _ := strconv.Atoi(low)
	outside, inside = []string{strconv.Itoa(n - 1)}, []string{low}
	if n, err := strconv.Atoi(high); err == nil && n < math.MaxInt {
		return append(outside, strconv.Itoa(n+1)), append(inside, high)
	}
	return outside, append(inside, strconv.Itoa(n+1))
}

// beside returns a number, or a ratio, a little above or below another.
func beside(number string, side float64) string {
	number, percent := strings.CutSuffix(number, "%")
	f, _ := strconv.ParseFloat(number, 64)
	text := strconv.FormatFloat(f+side/1024, 'f', -1, 64)
	if percent {
		text += "%"
	}
	return text
}

// rule returns the part of an error that states what an option must be.
func rule(err error) string {
	text, _, _ := strings.Cut(err.Error(), ", got ")
	_, text, _ = strings.Cut(text, "must be ")
	return text
}

// companions are options without which another is refused.
var companions = map[string]string{
	"max_eject_for": "eject_for 2s", "queue": "max_requests 1", "max_weight": "open", "ttl": "open", "max_lifetime": "ttl 1s", "latency": "algorithm aimd",
	"interval": "port 1", "down_interval": "port 1", "edge_interval": "port 1", "timeout": "port 1", "jitter": "port 1", "max_keys": "per uri",
	"username": "password a", "sentinel_password": "sentinel a 10.0.0.7:80", "sentinel_username": "sentinel a 10.0.0.7:80\nsentinel_password a",
}

// otherwise are options that need more than another option: a store that is not built in, and a
// limiter in front of the block, which has the same rules.
var otherwise = []string{"store_timeout", "limit", "slope"}

// inJSON tests that the same rule holds in JSON, with the same text: for the value in which the
// JSON of two lines differs.
func (w *optionWalk) inJSON(f frame, s *synopsis, full string, i int, rule string, wrong ...string) {
	if rule == "on or off" {
		return // a bool
	}
	accepted := func(f frame) (all []string) {
		for _, value := range s.args[i].samples(s.name) {
			if config, err := w.json(f, s.with(full, i, value)); err == nil && !slices.Contains(all, config) {
				all = append(all, config)
			}
		}
		return all
	}
	all := accepted(f)
	if len(all) < 2 {
		f.before += companions[s.name] + "\n"
		all = accepted(f)
	}
	if len(all) < 2 {
		if !slices.Contains(otherwise, s.name) {
			w.Errorf("%s: add an option that it needs to companions", s.name)
		}
		return
	}
	first, second := all[0], all[1]
	var config, was any
	if err := errors.Join(json.Unmarshal([]byte(first), &was), json.Unmarshal([]byte(second), &config)); err != nil {
		w.Fatal(err)
	}
	set := difference(was, config)
	if set == nil {
		w.Errorf("%s: %q and %q should differ in one value of the JSON", s.name, first, second)
		return
	}
	for _, text := range wrong {
		value := any(text)
		number, percent := strings.CutSuffix(text, "%")
		if n, err := strconv.ParseFloat(number, 64); err == nil {
			if percent {
				n /= 100
			}
			if value = n; n == 0 {
				continue // the default
			}
		}
		set(value)
		out, err := json.Marshal(config)
		if err != nil {
			w.Fatal(err)
		}
		w.configs++
		if err := lbtest.Validate(out); err == nil || !strings.Contains(err.Error(), rule) {
			w.Errorf("%s: in JSON, %v must be %s; got %v", s.name, value, rule, err)
		}
	}
}

// difference returns a function that sets the only value in which two configurations differ, or
// nil if it is not in both.
func difference(was, is any) (set func(any)) {
	old, _ := was.(map[string]any)
	switch is := is.(type) {
	case map[string]any:
		for key, value := range is {
			if reflect.DeepEqual(value, old[key]) {
				continue
			}
			switch value.(type) {
			case map[string]any, []any:
				set = difference(old[key], value)
			default:
				set = func(v any) { is[key] = v }
			}
		}
	case []any:
		old, _ := was.([]any)
		for i, value := range is {
			if i < len(old) && reflect.DeepEqual(value, old[i]) {
				continue
			}
			switch value.(type) {
			case map[string]any, []any:
				if i < len(old) {
					set = difference(old[i], value)
				}
			default:
				set = func(v any) { is[i] = v }
			}
		}
	}
	return set
}

// bounds tests that the bounds that an error of an argument states are true.
func (w *optionWalk) bounds(f frame, s *synopsis, full string, i int, stated error) {
	rule := rule(stated)
	for _, r := range ranges {
		m := r.text.FindStringSubmatch(rule)
		if m == nil {
			continue
		}
		outside, inside := r.of(m[1], m[2])
		w.inJSON(f, s, full, i, rule, outside...)
		for _, value := range outside {
			if err := w.refused(f, s, s.with(full, i, value), "a value out of bounds", value); err != nil && !strings.Contains(err.Error(), rule) {
				w.Errorf("%s: %s is out of %q, and the error is another: %v", s.name, value, rule, err)
			}
		}
		for _, value := range inside {
			if err := w.adapt(f, s.with(full, i, value)); err != nil && strings.Contains(err.Error(), rule) {
				w.Errorf("%s: %s is refused: %v", s.name, value, err)
			}
		}
		return
	}
	w.Errorf("%s: the error states no bounds: %v", s.name, stated)
}
