// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/ballast-lb/caddy-ballast/internal/health"
)

// agentLine returns an instruction in the notation of agents.
func agentLine(i health.Instruction) string {
	var words []string
	if w := i.Weight; w != nil && w.Relative {
		words = append(words, fmt.Sprintf("%v%%", math.Round(w.Value*1e4)/100))
	} else if w != nil {
		words = append(words, fmt.Sprintf("weight:%v", w.Value))
	}
	if i.MaxRequests != nil {
		words = append(words, fmt.Sprintf("maxconn:%d", *i.MaxRequests))
	}
	if i.Admin != nil {
		words = append(words, i.Admin.String())
	}
	if i.Up != nil && *i.Up {
		words = append(words, "up")
	} else if i.Up != nil {
		words = append(words, "down#"+i.Reason)
	}
	return strings.Join(words, " ")
}

func TestAgentWords(t *testing.T) {
	for _, tt := range []struct{ line, want, invalid string }{
		// Weights.
		{"0%", "0%", ""},
		{"75%", "75%", ""},
		{"007%", "7%", ""},
		{"100%", "100%", ""},
		{"101%", "101%", ""},
		{"25600%", "25600%", ""},
		{"25601%", "25600%", ""},
		{"99999999999999999999%", "25600%", ""},
		{"weight:0", "weight:0", ""},
		{"weight:256", "weight:256", ""},
		{"weight:257", "", "weight:257"},
		{"weight:99999999999999999999", "", "weight:99999999999999999999"},
		{"weight:0%", "0%", ""},
		{"weight:50%", "50%", ""},
		{"Weight:300%", "300%", ""},
		{"weight:", "", "weight:"},
		{"weight:%", "", "weight:%"},
		{"weight:-1", "", "weight:-1"},
		{"weight:1.5", "", "weight:1.5"},
		{"weight: 5", "", "weight:"}, // 5 is another word
		{"weight:weight:5", "", "weight:weight:5"},
		{"75", "", "75"},
		{"%", "", "%"},
		{"-5%", "", "-5%"},
		{"+5%", "", "+5%"},
		{"7.5%", "", "7.5%"},
		{"5%%", "", "5%%"},
		{"5%up", "", "5%up"},
		{"0x10%", "", "0x10%"},
		{"1_0%", "", "1_0%"},

		// Limits.
		{"maxconn:0", "maxconn:0", ""},
		{"MaxConn:30", "maxconn:30", ""},
		{"maxconn:2147483647", "maxconn:2147483647", ""},
		{"maxconn:2147483648", "maxconn:2147483647", ""},
		{"maxconn:99999999999999999999", "maxconn:2147483647", ""},
		{"maxconn:", "", "maxconn:"},
		{"maxconn:-1", "", "maxconn:-1"},
		{"maxconn:10%", "", "maxconn:10%"},
		{"maxconn:x", "", "maxconn:x"},

		// States.
		{"ready", "ready", ""},
		{"drain", "drain", ""},
		{"maint", "maint", ""},
		{"DRAIN", "drain", ""},
		{"drained", "", "drained"},

		// Healths.
		{"up", "up", ""},
		{"Up", "up", ""},
		{"down", "down#the agent says down", ""},
		{"fail", "down#the agent says fail", ""},
		{"STOPPED", "down#the agent says stopped", ""},
		{"failed", "", "failed"},
		{"down#disk full", "down#disk full", ""},
		{"down #disk full", "down#disk full", ""},
		{"fail# \tdisk, up 50% ", "down#disk, up 50%", ""},
		{"stopped#", "down#the agent says stopped", ""},
		{"down# \t", "down#the agent says down", ""},
		{"down#a#b", "down#a#b", ""},
		{"down 10% #slow", "10% down#slow", ""},
		{"down#\x1b[31m\x00\xff\u202e", "down#?[31m?\ufffd?", ""},
		{"up#fine", "up", ""},
		{"10%#half", "10%", ""},
		{"#down", "", ""},

		// Several words.
		{"up ready 100% maxconn:0", "100% maxconn:0 ready up", ""},
		{"maxconn:5,drain,,\t weight:3,down", "weight:3 maxconn:5 drain down#the agent says down", ""},
		{" ,\tup,\t ", "up", ""},
		{"drain up", "drain up", ""}, // two independent values
		{"ready down", "ready down#the agent says down", ""},
		{"ready drain", "drain", ""},
		{"drain maint ready", "ready", ""},
		{"up down", "down#the agent says down", ""},
		{"down up", "up", ""},
		{"down up #why", "up", ""},
		{"fail down", "down#the agent says down", ""},
		{"50% weight:7", "weight:7", ""},
		{"weight:7 50%", "50%", ""},
		{"50% weight:999 up", "up", "weight:999"}, // the last weight applies
		{"maxconn:5 maxconn:x", "", "maxconn:x"},
		{"Hello up World 5", "up", "Hello"},
		{"up;down", "", "up;down"},
		{"up\vdown", "", "up\vdown"},
		{"u\x00p", "", "u\x00p"},
		{"\ufeffup", "", "\ufeffup"},

		// Lines.
		{"", "", ""},
		{" \t,", "", ""},
		{"\nup\n", "", ""},
		{"up\ndown\n", "up", ""},
		{"up\r\ndown\r\n", "up", ""},
		{"up\rdown", "up", ""},
		{"down#disk\nup", "down#disk", ""},
	} {
		i, invalid := parseAgentLine(tt.line)
		if got := agentLine(i); got != tt.want || invalid != tt.invalid {
			t.Errorf("%q sets %q and has the invalid word %q, want %q and %q", tt.line, got, invalid, tt.want, tt.invalid)
		}
	}
}

// For any line, the instruction is within bounds, round-trips through its notation, and depends
// only on the words of the first line.
func FuzzAgentLine(f *testing.F) {
	for _, seed := range []string{
		"", "up", "75%", "weight:256 maxconn:10 ready up\r\n", "WEIGHT:50%,Drain\tDOWN#disk, full\n", "down #", "fail#\x1b\xff", "maint stopped up", "25601%",
		"weight:257", "maxconn:99999999999999999999", "5%%", "HTTP/1.1 400 Bad Request", "\n", "#", "1%2%,3%#4%", "u\u017f \u212a", "down#\u00a0 ",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		i, invalid := parseAgentLine(text)
		if w := i.Weight; w != nil && !(w.Value >= 0 && w.Value <= 256) {
			t.Errorf("%q: weight %v", text, *w)
		}
		if n := i.MaxRequests; n != nil && (*n < 0 || *n > math.MaxInt32) {
			t.Errorf("%q: limit %d", text, *n)
		}
		if a := i.Admin; a != nil && *a > health.Maint {
			t.Errorf("%q: state %d", text, *a)
		}
		if down := i.Up != nil && !*i.Up; down != (i.Reason != "") {
			t.Errorf("%q: reason %q", text, i.Reason)
		}
		if !utf8.ValidString(i.Reason) || strings.ContainsFunc(i.Reason, unicode.IsControl) {
			t.Errorf("%q: reason %q", text, i.Reason)
		}
		if strings.ContainsAny(invalid, " \t,#\r\n") || !strings.Contains(text, invalid) {
			t.Errorf("%q: %q is not one of its words", text, invalid)
		}

		same := func(other string, wantOdd string) {
			if j, gotOdd := parseAgentLine(other); !reflect.DeepEqual(i, j) || gotOdd != wantOdd {
				t.Errorf("%q sets %q with the invalid word %q, but %q sets %q with %q", text, agentLine(i), wantOdd, other, agentLine(j), gotOdd)
			}
		}
		same(agentLine(i), "")
		line := text
		if end := strings.IndexAny(text, "\r\n"); end >= 0 {
			line = text[:end]
		}
		same(line, invalid)
		same(line+"\nmaint 1% maxconn:1 up", invalid)
		same(line+"\rmaint 1% maxconn:1 up", invalid)
		words, reason, sharp := strings.Cut(line, "#")
		rest := ""
		if sharp {
			rest = "#" + reason
		}
		same("\t"+strings.NewReplacer(" ", ", ", "\t", "  ", ",", "\t").Replace(words)+","+rest, invalid)
		if words == strings.Map(func(r rune) rune { return r & 0x7f }, words) { // only ASCII is case-insensitive here
			same(strings.ToUpper(words)+rest, strings.ToUpper(invalid))
		}
	})
}
