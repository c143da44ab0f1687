// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package orca

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// wire builds a message, right or wrong, field by field.
type wire []byte

func (w wire) double(number protowire.Number, v float64) wire {
	return protowire.AppendFixed64(protowire.AppendTag(w, number, protowire.Fixed64Type), math.Float64bits(v))
}

func (w wire) varint(number protowire.Number, v uint64) wire {
	return protowire.AppendVarint(protowire.AppendTag(w, number, protowire.VarintType), v)
}

func (w wire) bytes(number protowire.Number, v []byte) wire {
	return protowire.AppendBytes(protowire.AppendTag(w, number, protowire.BytesType), v)
}

func (w wire) fixed32(number protowire.Number, v uint32) wire {
	return protowire.AppendFixed32(protowire.AppendTag(w, number, protowire.Fixed32Type), v)
}

// group is what proto2 had, and parsers must still skip.
func (w wire) group(number protowire.Number, v []byte) wire {
	return protowire.AppendGroup(protowire.AppendTag(w, number, protowire.StartGroupType), number, v)
}

func (w wire) entry(number protowire.Number, key string, v float64) wire {
	return w.bytes(number, wire(nil).bytes(1, []byte(key)).double(2, v))
}

func (w wire) base64() string { return base64.StdEncoding.EncodeToString(w) }

func text(s string) http.Header { return http.Header{header: {"TEXT " + s}} }
func jsn(s string) http.Header  { return http.Header{header: {"JSON " + s}} }
func bin(w wire) http.Header    { return http.Header{headerBin: {w.base64()}} }

// full is what is read of a report with every field, with bigger values than 1 where they are allowed.
var full = Report{CPU: 1.5, Application: 2.25, RPS: 1000.5, EPS: 2}

// From reads a report without a metric.
func From(h http.Header) (Report, bool, error) { return Metric{}.From(h) }

// list returns n parts, numbered from 0.
func list(n int, format, between string) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(format, i))
	}
	return strings.Join(all, between)
}

func numbered(n int) map[string]float64 {
	all := make(map[string]float64)
	for i := range n {
		all[fmt.Sprint(i)] = 1
	}
	return all
}

func entries(n int) (w wire) {
	for key, v := range numbered(n) {
		w = w.entry(8, key, v)
	}
	return w
}

func TestAccepts(t *testing.T) {
	// 09: field 1 as 8 bytes, 31: field 6 likewise, 42: field 8 with a length,
	// 0a: field 1 with a length, 11: field 2 as 8 bytes; 3fe0... is 0.5, 4059...
	// is 100, 4010... is 4, all with the lowest byte first.
	const literal = "CQAAAAAAAOA/MQAAAAAAAFlAQg4KA3JpZhEAAAAAAAAQQA"
	if b, _ := base64.RawStdEncoding.DecodeString(literal); hex.EncodeToString(b) !=
		"09"+"000000000000e03f"+"31"+"0000000000005940"+"42"+"0e"+"0a"+"03"+"726966"+"11"+"0000000000001040" {
		t.Fatal("the literal is not what the comment says")
	}
	literalReport := Report{CPU: 0.5, RPS: 100}

	for _, tt := range []struct {
		name string
		h    http.Header
		want Report
	}{
		{"all of TEXT", text("cpu_utilization=1.5,mem_utilization=1,application_utilization=2.25,rps_fractional=1000.5,eps=2,utilization.disk=0.5,utilization.gpu=0,named_metrics.a.b=123,named_metrics.vllm:kv=0.25,request_cost.bytes=3487"), full},
		{"colons", text("cpu_utilization:0.5,eps:2,named_metrics.foo:1"), Report{CPU: 0.5, EPS: 2}},
		{"both separators", text("cpu_utilization:0.5,eps=2"), Report{CPU: 0.5, EPS: 2}},
		{"a name with a colon, then a colon", text("named_metrics.vllm:kv:0.5"), Report{}},
		{"spaces as vLLM has them", text("named_metrics.kv_cache_usage_perc=0.0, named_metrics.num_requests_waiting=3.0"),
			Report{}},
		{"spaces and tabs anywhere", text(" \t cpu_utilization = 0.5\t,\teps : 2 "), Report{CPU: 0.5, EPS: 2}},
		{"empty elements", text(",cpu_utilization=0.5,,"), Report{CPU: 0.5}},
		{"nothing, from which net/http cuts the space", http.Header{header: {"TEXT"}}, Report{}},
		{"nothing", text(""), Report{}},
		{"forms of numbers", text("cpu_utilization=.5,eps=1e+2,rps_fractional=1.,mem_utilization=+0.25,application_utilization=1E-400"),
			Report{CPU: 0.5, EPS: 100, RPS: 1}},
		{"the largest number", text("rps_fractional=1.7976931348623157e308"), Report{RPS: math.MaxFloat64}},
		{"deprecated rps", text("rps=7"), Report{RPS: 7}},
		{"rps beside rps_fractional", text("rps=7,rps_fractional=1.5"), Report{RPS: 1.5}},
		{"bounds from below", text("cpu_utilization=0,mem_utilization=0,utilization.x=0"), Report{}},
		{"one name in two maps", text("utilization.x=1,named_metrics.x=2,request_cost.x=3"),
			Report{}},
		{"64 entries", text(list(64, "named_metrics.%d=1", ",")), Report{}},
		{"8 KiB", http.Header{header: {"TEXT eps=1" + strings.Repeat(",", 8<<10-len("TEXT eps=1"))}}, Report{EPS: 1}},
		{"space around", http.Header{header: {" \tTEXT eps=1 "}}, Report{EPS: 1}},

		{"all of JSON", jsn(`{"cpu_utilization": 1.5, "mem_utilization": 1, "application_utilization": 2.25, "rps_fractional": 1000.5, "eps": 2,
			"utilization": {"disk": 0.5, "gpu": 0}, "named_metrics": {"a.b": 123, "vllm:kv": 0.25}, "request_cost": {"bytes": 3487}}`), full},
		{"all of JSON in camel case", jsn(`{"cpuUtilization":1.5,"memUtilization":1,"applicationUtilization":2.25,"rpsFractional":1000.5,"eps":2,"utilization":{"disk":0.5,"gpu":0},"namedMetrics":{"a.b":123,"vllm:kv":0.25},"requestCost":{"bytes":3487}}`), full},
		{"numbers as strings", jsn(`{"cpu_utilization":"0.5","rps":"18446744073709551615","named_metrics":{"a":"1e2"}}`),
			Report{CPU: 0.5, RPS: 1 << 64}},
		{"whole numbers with a point", jsn(`{"rps":7.0}`), Report{RPS: 7}},
		{"null", jsn(`{"cpu_utilization":null,"named_metrics":null,"rps":null,"eps":1}`), Report{EPS: 1}},
		{"empty object", jsn(`{}`), Report{}},
		{"empty map", jsn(`{"named_metrics":{}}`), Report{}},
		{"escapes and space", jsn("\t{ \"\\u0065ps\" : 1 , \"named_metrics\":{\"\\ud83d\\ude00\":1}}\r\n"), Report{EPS: 1}},
		{"escaped quotes and backslashes", jsn(`{"named_metrics":{"\"":1,"a\"b\\":2,"\\\"}":3}}`), Report{}},
		{"an empty name, as protobuf allows it", jsn(`{"named_metrics":{"":1}}`), Report{}},
		{"64 entries in JSON", jsn(`{"named_metrics":{` + list(64, `"%d":1`, ",") + `}}`), Report{}},

		{"literal without padding, as grpc-go has it", http.Header{headerBin: {literal}}, literalReport},
		{"literal with padding", http.Header{headerBin: {literal + "=="}}, literalReport},
		{"literal with a format", http.Header{header: {"BIN " + literal}}, literalReport},
		{"literal with more space", http.Header{header: {"BIN  " + literal + "== "}}, literalReport},
		{"the example of the specification", http.Header{header: {"BIN CZqZmZmZmbk/MQAAAAAAAABAQg4KA2ZvbxGamZmZmZm5P0IOCgNiYXIRmpmZmZmZyT8="}},
			Report{CPU: 0.1, RPS: 2}},
		// 18 05: field 3 as a varint of 5; 49 and 1: field 9, 2.0; 2a 0c 0a 01 78 11
		// and 1: field 5 with {"x": 1.0}.
		{"literal of other fields", http.Header{headerBin: {"GAVJAAAAAAAAAEAqDAoBeBEAAAAAAADwPw=="}},
			Report{RPS: 5, Application: 2}},
		{"all of protobuf", bin(wire(nil).double(1, 1.5).double(2, 1).entry(4, "bytes", 3487).entry(5, "disk", 0.5).entry(5, "gpu", 0).
			double(6, 1000.5).double(7, 2).entry(8, "a.b", 123).entry(8, "vllm:kv", 0.25).double(9, 2.25)), full},
		{"another order", bin(wire(nil).double(9, 2.25).entry(8, "vllm:kv", 0.25).double(7, 2).entry(5, "gpu", 0).double(6, 1000.5).
			entry(4, "bytes", 3487).double(1, 1.5).entry(8, "a.b", 123).double(2, 1).entry(5, "disk", 0.5)), full},
		{"an empty message", http.Header{headerBin: {""}}, Report{}},
		{"an empty message with a format", http.Header{header: {"BIN"}}, Report{}},
		{"unknown fields", bin(wire(nil).varint(10, 1).double(1<<29-1, 1).bytes(99, []byte("x")).fixed32(10, 1).group(11, wire(nil).double(1, 9)).double(7, 3)), Report{EPS: 3}},
		{"the last of many", bin(wire(nil).double(1, 0.25).entry(8, "a", 1).entry(8, "b", 1).double(1, 0.5).entry(8, "a", 2)),
			Report{CPU: 0.5}},
		{"a zero that comes last", bin(wire(nil).double(1, 0.25).double(1, 0)), Report{}},
		{"rps in protobuf", bin(wire(nil).varint(3, 300)), Report{RPS: 300}},
		{"rps and rps_fractional of 0", bin(wire(nil).double(6, 0).varint(3, 300)), Report{RPS: 300}},
		{"rps behind rps_fractional", bin(wire(nil).double(6, 0.5).varint(3, 300)), Report{RPS: 0.5}},
		{"the largest rps", bin(wire(nil).varint(3, math.MaxUint64)), Report{RPS: 1 << 64}},
		{"an entry without a value", bin(wire(nil).bytes(5, wire(nil).bytes(1, []byte("a")))), Report{}},
		{"an entry without a key", bin(wire(nil).bytes(5, wire(nil).double(2, 1))), Report{}},
		{"an entry of nothing", bin(wire(nil).bytes(4, nil)), Report{}},
		{"an entry in another order, with more in it", bin(wire(nil).bytes(8, wire(nil).double(2, 9).varint(3, 1).double(2, 1).bytes(1, []byte("x")).bytes(1, []byte("a")))),
			Report{}},
		{"64 entries in protobuf", bin(entries(64).entry(8, "0", 1)), Report{}},

		{"protobuf goes first", http.Header{headerBin: {wire(nil).double(7, 1).base64()}, header: {"TEXT eps=2"}}, Report{EPS: 1}},
		{"protobuf is announced only", http.Header{headerBin: nil, header: {"TEXT eps=2"}}, Report{EPS: 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, found, err := From(tt.h)
			if err != nil || !found || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, %v (%v), want %+v", got, found, err, tt.want)
			}
		})
	}
}

func TestRefuses(t *testing.T) {
	bad := wire(nil).double(1, 0.5)
	for _, tt := range []struct {
		name string
		h    http.Header
		want string
	}{
		{"two fields", http.Header{header: {"TEXT eps=1", "TEXT eps=1"}}, "endpoint-load-metrics: a response must have at most one, got 2"},
		{"two fields in protobuf", http.Header{headerBin: {bad.base64(), bad.base64()}}, "endpoint-load-metrics-bin: a response must have at most one, got 2"},
		{"more than 8 KiB", http.Header{header: {"TEXT eps=1" + strings.Repeat(",", 8<<10+1-len("TEXT eps=1"))}}, "at most 8192 bytes, got 8193"},
		{"more than 8 KiB in protobuf", http.Header{headerBin: {strings.Repeat("A", 8<<10+1)}}, "at most 8192 bytes"},
		{"no format", http.Header{header: {"eps=1"}}, `must begin with TEXT, JSON or BIN and a space, got "eps=1"`},
		{"an empty field", http.Header{header: {""}}, `must begin with TEXT, JSON or BIN and a space, got ""`},
		{"another case", http.Header{header: {"text eps=1"}}, "must begin with"},
		{"no space", http.Header{header: {"TEXTeps=1"}}, "must begin with"},
		{"faulty protobuf beside TEXT", http.Header{headerBin: {"!"}, header: {"TEXT eps=1"}}, "endpoint-load-metrics-bin: must be base64"},

		{"TEXT: NaN", text("cpu_utilization=NaN"), `cpu_utilization must be a finite decimal number, got "NaN"`},
		{"TEXT: infinity", text("eps=inf"), "eps must be a finite decimal number"},
		{"TEXT: Infinity", text("eps=+Infinity"), "finite decimal"},
		{"TEXT: overflow", text("eps=1e309"), "finite decimal"},
		{"TEXT: negative", text("cpu_utilization=-1"), "cpu_utilization must be finite and not negative, got -1"},
		{"TEXT: negative by little", text("eps=-5e-324"), "not negative"},
		{"TEXT: hexadecimal", text("eps=0x10"), "finite decimal"},
		{"TEXT: underscore", text("eps=1_0"), "finite decimal"},
		{"TEXT: quotes", text(`eps="1"`), "finite decimal"},
		{"TEXT: no value", text("eps="), "finite decimal"},
		{"TEXT: percent", text("cpu_utilization=50%"), "finite decimal"},
		{"TEXT: two separators", text("eps==1"), "finite decimal"},
		{"TEXT: both separators", text("eps=:1"), "finite decimal"},
		{"TEXT: no separator", text("eps"), `must have pairs such as eps=1, got "eps"`},
		{"TEXT: one bad pair of many", text("cpu_utilization=0.5,eps=x"), "finite decimal"},
		{"TEXT: a part of a request", text("rps=1.5"), "rps must be a whole number"},
		{"TEXT: more than rps can hold", text("rps=3.7e19"), "rps must be a whole number"},
		{"TEXT: unknown", text("cpu_utilization=0.5,cpu=0.5"), `must have fields of OrcaLoadReport, those of maps as map.key, got "cpu"`},
		{"TEXT: unknown map", text("metrics.x=0.5"), "must have fields of OrcaLoadReport"},
		{"TEXT: camel case", text("cpuUtilization=0.5"), "must have fields of OrcaLoadReport"},
		{"TEXT: no name", text("=0.5"), `got ""`},
		{"TEXT: a map without a key", text("named_metrics=0.5"), `got "named_metrics"`},
		{"TEXT: a key of what is no map", text("cpu_utilization.x=0.5"), `got "cpu_utilization.x"`},
		{"TEXT: twice", text("cpu_utilization=0.5,cpu_utilization=0.5"), "cpu_utilization must be there at most once"},
		{"TEXT: twice, the first being 0", text("eps=0,eps=0"), "eps must be there at most once"},
		{"TEXT: semicolons", text("eps=1;cpu_utilization=1"), "finite decimal"},

		{"JSON: none", http.Header{header: {"JSON"}}, "must be JSON: unexpected end of JSON input"},
		{"JSON: text", jsn("not-a-valid-json-string"), "must be JSON"},
		{"JSON: array", jsn("[]"), "must be a JSON object"},
		{"JSON: null", jsn("null"), "must be a JSON object"},
		{"JSON: cut off", jsn(`{"eps":1`), "must be JSON: unexpected end of JSON input"},
		{"JSON: cut off behind a name", jsn(`{"eps"`), "must be JSON"},
		{"JSON: cut off in a map", jsn(`{"named_metrics":{"a":1`), "must be JSON"},
		{"JSON: cut off in a map, behind a name", jsn(`{"named_metrics":{"a":`), "must be JSON"},
		{"JSON: comma at the end", jsn(`{"eps":1,}`), "must be JSON"},
		{"JSON: two objects", jsn(`{"eps":1}{}`), "must be JSON: invalid character"},
		{"JSON: more behind it", jsn(`{"eps":1} x`), "must be JSON: invalid character"},
		{"JSON: a leading zero", jsn(`{"eps":01}`), "must be JSON"},
		{"JSON: typographic quotes", jsn(`{“eps”:1}`), "must be JSON"},
		{"JSON: NaN as Python has it", jsn(`{"eps":NaN}`), "must be JSON"},
		{"JSON: NaN as proto3 has it", jsn(`{"eps":"NaN"}`), `eps must be a finite decimal number, got "NaN"`},
		{"JSON: Infinity", jsn(`{"eps":"Infinity"}`), "finite decimal"},
		{"JSON: overflow", jsn(`{"eps":1e309}`), "finite decimal"},
		{"JSON: negative", jsn(`{"eps":-1}`), "eps must be finite and not negative"},
		{"JSON: empty string", jsn(`{"eps":""}`), "finite decimal"},
		{"JSON: string with a space", jsn(`{"eps":" 1"}`), "finite decimal"},
		{"JSON: bool", jsn(`{"eps":true}`), "eps must be a finite decimal number"},
		{"JSON: array for a number", jsn(`{"eps":[1]}`), "eps must be a finite decimal number"},
		{"JSON: object for a number", jsn(`{"eps":{}}`), "eps must be a finite decimal number"},
		{"JSON: a part of a request", jsn(`{"rps":"1.5"}`), "rps must be a whole number"},
		{"JSON: unknown", jsn(`{"eps":1,"unknown_field":2}`), `must have fields of OrcaLoadReport, got "unknown_field"`},
		{"JSON: another case", jsn(`{"EPS":1}`), `got "EPS"`},
		{"JSON: map.key", jsn(`{"named_metrics.x":1}`), `got "named_metrics.x"`},
		{"JSON: twice", jsn(`{"eps":1,"eps":1}`), "eps must be there at most once"},
		{"JSON: twice, by both names", jsn(`{"cpu_utilization":1,"cpuUtilization":1}`), "cpu_utilization must be there at most once"},
		{"JSON: a map twice", jsn(`{"named_metrics":{},"namedMetrics":{}}`), "named_metrics must be there at most once"},

		{"protobuf: URL alphabet", http.Header{headerBin: {"CQAAAAAAAOA_"}}, "base64 of the standard alphabet"},
		{"protobuf: no base64", http.Header{headerBin: {"not-a-valid-binary-proto"}}, "base64 of the standard alphabet"},
		{"protobuf: too little padding", http.Header{headerBin: {"SQAAAAAAAABAEA="}}, "base64"},
		{"protobuf: too much padding", http.Header{headerBin: {"CQAAAAAAAOA/===="}}, "base64"},
		{"protobuf: two with a comma, as gRPC may join them", http.Header{headerBin: {"CQAAAAAAAOA/,CQAAAAAAAOA/"}}, "base64"},
		{"protobuf: cut off in a double", bin(bad[:8]), "must be an OrcaLoadReport in protobuf"},
		{"protobuf: cut off in a tag", bin(append(bad[:9:9], 0x80)), "must be an OrcaLoadReport in protobuf"},
		{"protobuf: cut off behind a tag", bin(append(bad[:9:9], 0x09)), "must be an OrcaLoadReport in protobuf"},
		{"protobuf: cut off in a varint", bin(wire{0x18, 0x80}), "must be an OrcaLoadReport in protobuf"},
		{"protobuf: cut off in a map", bin(wire(nil).entry(8, "a", 1)[:10]), "must be an OrcaLoadReport in protobuf"},
		{"protobuf: cut off in an unknown field", bin(wire{0x52, 0x05, 0x00}), "must be an OrcaLoadReport in protobuf"},
		{"protobuf: field 0", bin(wire{0x01, 0, 0, 0, 0, 0, 0, 0, 0}), "must be an OrcaLoadReport in protobuf"},
		{"protobuf: more than the largest number", bin(wire(nil).varint(1<<29, 1)), "invalid field number 536870912"},
		{"protobuf: the end of no group", bin(wire{0x54}), "must be an OrcaLoadReport in protobuf"},
		{"protobuf: NaN", bin(wire(nil).double(1, math.NaN())), "cpu_utilization must be finite and not negative, got NaN"},
		{"protobuf: infinity", bin(wire(nil).double(6, math.Inf(1))), "rps_fractional must be finite and not negative, got +Inf"},
		{"protobuf: negative", bin(wire(nil).double(7, -1)), "eps must be finite and not negative, got -1"},
		{"protobuf: negative, then not", bin(wire(nil).double(7, -1).double(7, 1)), "eps must be finite and not negative"},
		{"protobuf: double as a varint", bin(wire(nil).varint(1, 1)), "cpu_utilization must have wire type 1, got 0"},
		{"protobuf: double as 4 bytes", bin(wire(nil).fixed32(9, 1)), "application_utilization must have wire type 1, got 5"},
		{"protobuf: rps as a double", bin(wire(nil).double(3, 1)), "rps must have wire type 0, got 1"},
		{"protobuf: double as a group", bin(wire(nil).group(7, nil)), "eps must have wire type 1, got 3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, found, err := From(tt.h)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %+v (%v), want %q", got, err, tt.want)
			}
			if found || !reflect.DeepEqual(got, Report{}) {
				t.Errorf("counts as %+v, %v", got, found)
			}
			if err != nil && len(err.Error()) > 300 {
				t.Errorf("%d bytes are too many to log: %.100s", len(err.Error()), err)
			}
		})
	}
}

// What no weight is made of is skipped, whatever it holds.
func TestSkipsWhatNothingReads(t *testing.T) {
	for _, tt := range []struct {
		name string
		h    http.Header
	}{
		{"TEXT: negative in a map", text("named_metrics.x=-1")},
		{"TEXT: memory above 1", text("mem_utilization=1.0000000000000002")},
		{"TEXT: utilization above 1", text("utilization.x=1.0000000000000002")},
		{"TEXT: an empty key", text("named_metrics.=0.5")},
		{"TEXT: an empty key of utilization", text("utilization.=0.5")},
		{"TEXT: twice in a map", text("named_metrics.x=1, named_metrics.x:1")},
		{"TEXT: not UTF-8", text("named_metrics.\xff=1")},
		{"TEXT: 65 entries", text(list(64, "named_metrics.%d=1", ",") + ",utilization.x=1")},
		{"JSON: negative as a string", jsn(`{"named_metrics":{"x":"-1"}}`)},
		{"JSON: number for a map", jsn(`{"named_metrics":1}`)},
		{"JSON: array for a map", jsn(`{"named_metrics":[]}`)},
		{"JSON: null in a map", jsn(`{"named_metrics":{"x":null}}`)},
		{"JSON: map in a map", jsn(`{"named_metrics":{"x":{}}}`)},
		{"JSON: memory above 1", jsn(`{"mem_utilization":1.5}`)},
		{"JSON: utilization above 1", jsn(`{"utilization":{"x":2}}`)},
		{"JSON: twice in a map", jsn(`{"named_metrics":{"x":1,"x":1}}`)},
		{"JSON: not UTF-8", jsn("{\"named_metrics\":{\"\xff\":1}}")},
		{"JSON: 65 entries", jsn(`{"utilization":{"x":1},"named_metrics":{` + list(64, `"%d":1`, ",") + `}}`)},
		{"JSON: deep", jsn(strings.Repeat(`{"named_metrics":`, 400) + "1" + strings.Repeat("}", 400))},
		{"protobuf: cut off in an entry", bin(wire(nil).bytes(8, wire(nil).double(2, 1)[:4]))},
		{"protobuf: cut off in the tag of an entry", bin(wire(nil).bytes(8, wire{0x80}))},
		{"protobuf: more than the largest number in an entry", bin(wire(nil).bytes(8, wire(nil).varint(1<<29, 1)))},
		{"protobuf: memory above 1", bin(wire(nil).double(2, math.Nextafter(1, 2)))},
		{"protobuf: NaN for memory", bin(wire(nil).double(2, math.NaN()))},
		{"protobuf: utilization above 1", bin(wire(nil).entry(5, "x", math.Nextafter(1, 2)))},
		{"protobuf: NaN in a map", bin(wire(nil).entry(8, "x", math.NaN()))},
		{"protobuf: infinity in a map", bin(wire(nil).entry(4, "x", math.Inf(1)))},
		{"protobuf: map as a double", bin(wire(nil).double(8, 1))},
		{"protobuf: key as a varint", bin(wire(nil).bytes(8, wire(nil).varint(1, 1)))},
		{"protobuf: value as a varint", bin(wire(nil).bytes(8, wire(nil).varint(2, 1)))},
		{"protobuf: key not UTF-8", bin(wire(nil).entry(8, "\xff", 1))},
		{"protobuf: 65 entries", bin(entries(64).entry(4, "x", 1))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if r, found, err := From(tt.h); !found || err != nil || r != (Report{}) {
				t.Errorf("got %+v, %v (%v)", r, found, err)
			}
			h := tt.h.Clone() // with something that is read behind it
			if b := h.Get(headerBin); b != "" {
				m, err := base64.StdEncoding.DecodeString(b)
				if err != nil {
					t.Fatal(err)
				}
				h = bin(wire(m).double(7, 3))
			} else if s, ok := strings.CutSuffix(h.Get(header), "}"); ok {
				h.Set(header, s+`,"eps":3}`)
			} else {
				h.Set(header, s+",eps=3")
			}
			if r, found, err := From(h); !found || err != nil || r != (Report{EPS: 3}) {
				t.Errorf("with eps=3, got %+v, %v (%v)", r, found, err)
			}
		})
	}
}

// plain is a response without a report.
func plain(fields int) http.Header {
	h := http.Header{"Content-Type": {"text/html"}, "Date": {"now"}, "Server": {"x"}, "Content-Length": {"5"}, "Cache-Control": {"no-cache"}}
	for i := len(h); i < fields; i++ {
		h.Set(fmt.Sprintf("X-Another-Field-Name-%d", i), "x")
	}
	return h
}

func TestNoReportIsNoErrorAndCostsNoMemory(t *testing.T) {
	for name, h := range map[string]http.Header{
		"nil":       nil,
		"empty":     {},
		"others":    plain(20),
		"announced": {header: nil, headerBin: nil},
		"empty all": {header: {}, headerBin: {}},
		"not canonical, which net/http makes them": {"endpoint-load-metrics": {"TEXT eps=1"}},
	} {
		if r, found, err := From(h); found || err != nil || !reflect.DeepEqual(r, Report{}) {
			t.Errorf("%s: got %+v, %v (%v)", name, r, found, err)
		}
		if n := testing.AllocsPerRun(100, func() { From(h) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestNamesAreCanonical(t *testing.T) {
	for _, name := range []string{header, headerBin} {
		if c := http.CanonicalHeaderKey(name); c != name {
			t.Errorf("%s is never in a header, %s is", name, c)
		}
	}
}

func TestWeight(t *testing.T) {
	const tiny = math.SmallestNonzeroFloat64
	for _, tt := range []struct {
		name    string
		r       Report
		penalty float64
		load    float64
		want    float64
	}{
		{"nothing", Report{}, 1, 0, 0},
		{"by CPU", Report{CPU: 0.5, RPS: 100}, 1, 0.5, 200},
		{"by the application", Report{CPU: 0.5, Application: 0.25, RPS: 100}, 1, 0.25, 400},
		{"above 1", Report{CPU: 0.5, Application: 2, RPS: 100}, 1, 2, 50},
		{"no rate", Report{CPU: 0.5}, 1, 0.5, 0},
		{"no rate but errors", Report{CPU: 0.5, EPS: 5}, 1, 0.5, 0},
		{"no utilization", Report{RPS: 100}, 1, 0, 0},
		{"no utilization but errors", Report{RPS: 100, EPS: 50}, 1, 0, 0},
		{"errors", Report{CPU: 0.5, RPS: 100, EPS: 50}, 1, 0.5, 100},
		{"errors at twice the penalty", Report{CPU: 0.5, RPS: 100, EPS: 75}, 2, 0.5, 50},
		{"errors at no penalty", Report{CPU: 0.5, RPS: 100, EPS: 50}, 0, 0.5, 200},
		{"infinite errors at no penalty", Report{CPU: 0.5, RPS: tiny, EPS: math.MaxFloat64}, 0, 0.5, 2 * tiny},
		{"infinite errors", Report{CPU: 0.5, RPS: tiny, EPS: math.MaxFloat64}, 1, 0.5, 0},
		{"infinite weight", Report{CPU: tiny, RPS: 100}, 1, tiny, 0},
		{"no errors at an infinite penalty", Report{CPU: 0.5, RPS: 100}, math.Inf(1), 0.5, 0},
		{"large", Report{CPU: 1, RPS: math.MaxFloat64}, 1, 1, math.MaxFloat64},
	} {
		if got := tt.r.Load(); got != tt.load {
			t.Errorf("%s: a load of %v, want %v", tt.name, got, tt.load)
		}
		if got := tt.r.Weight(tt.penalty); got != tt.want {
			t.Errorf("%s: a weight of %v, want %v", tt.name, got, tt.want)
		}
	}
}

func BenchmarkFrom(b *testing.B) {
	rest := plain(8)
	with := func(name, value string) http.Header {
		h := rest.Clone()
		h.Set(name, value)
		return h
	}
	full := wire(nil).double(1, 0.3).double(2, 0.8).double(6, 10).double(7, 1).entry(8, "custom_metric_util", 0.4)
	for _, bm := range []struct {
		name string
		h    http.Header
	}{
		{"none/0", nil},
		{"none/5", plain(5)},
		{"none/8", plain(8)},
		{"none/20", plain(20)},
		{"text", with(header, "TEXT cpu_utilization=0.3, mem_utilization=0.8, rps_fractional=10.0, eps=1, named_metrics.custom_metric_util=0.4")},
		{"json", with(header, `JSON {"cpu_utilization": 0.3, "mem_utilization": 0.8, "rps_fractional": 10.0, "eps": 1, "named_metrics": {"custom_metric_util": 0.4}}`)},
		{"binary", with(headerBin, full.base64())},
		{"binary without maps", with(headerBin, full[:4*9].base64())},
	} {
		b.Run(bm.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := From(bm.h); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
