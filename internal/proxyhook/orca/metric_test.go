// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package orca

import (
	"math"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

func TestParseMetric(t *testing.T) {
	for name, want := range map[string]Metric{
		"":                      {},
		"kv_cache_usage_perc":   {namedMetrics, "kv_cache_usage_perc"},
		"vllm:kv.usage":         {namedMetrics, "vllm:kv.usage"},
		"named_metrics.queue":   {namedMetrics, "queue"},
		"utilization.gpu":       {utilization, "gpu"},
		"cpu_utilization":       {namedMetrics, "cpu_utilization"},
		"named_metrics.cpu.max": {namedMetrics, "cpu.max"},
	} {
		if got, err := ParseMetric(name); got != want || err != nil {
			t.Errorf("%q became %+v (%v), want %+v", name, got, err, want)
		}
	}
	for _, name := range []string{"named_metrics.", "utilization.", "a b", "a,b", "a=b", `a"b`, "a\n", " ", "\u00e9"} {
		if got, err := ParseMetric(name); err == nil || !strings.Contains(err.Error(), "must be the name of a metric such as") {
			t.Errorf("%q became %+v (%v)", name, got, err)
		}
	}
}

// The metric is found in each form, in its own map alone, and its value is checked as that of a
// field that is read.
func TestMetric(t *testing.T) {
	named, gpu := Metric{namedMetrics, "m"}, Metric{utilization, "m"}
	for _, tt := range []struct {
		name   string
		metric Metric
		h      http.Header
		want   float64
		err    string
	}{
		{"TEXT", named, text("named_metrics.m=0.25, named_metrics.n=-3"), 0.25, ""},
		{"TEXT with a colon", named, text("named_metrics.m:0.25"), 0.25, ""},
		{"TEXT, another map", named, text("utilization.m=0.25,request_cost.m=1"), 0, ""},
		{"TEXT, utilization", gpu, text("utilization.m=0.5,named_metrics.m=0.25"), 0.5, ""},
		{"TEXT, vLLM", Metric{namedMetrics, "kv_cache_usage_perc"}, text("named_metrics.kv_cache_usage_perc=0.7, named_metrics.num_requests_waiting=3.0"), 0.7, ""},
		{"TEXT, without", named, text("cpu_utilization=0.5"), 0, ""},
		{"TEXT, twice", named, text("named_metrics.m=1,named_metrics.m=1"), 0, "named_metrics.m must be there at most once"},
		{"TEXT, negative", named, text("named_metrics.m=-1"), 0, "named_metrics.m must be finite and not negative, got -1"},
		{"TEXT, NaN", named, text("named_metrics.m=NaN"), 0, `named_metrics.m must be a finite decimal number, got "NaN"`},
		{"JSON", named, jsn(`{"named_metrics":{"n":{},"m":0.25}}`), 0.25, ""},
		{"JSON in camel case, a string", named, jsn(`{"namedMetrics":{"m":"2.5e-1"}}`), 0.25, ""},
		{"JSON, utilization", gpu, jsn(`{"utilization":{"m":0.5},"named_metrics":1}`), 0.5, ""},
		{"JSON, null", named, jsn(`{"named_metrics":{"m":null}}`), 0, ""},
		{"JSON, no map", named, jsn(`{"named_metrics":null}`), 0, ""},
		{"JSON, an array", named, jsn(`{"named_metrics":[0.25]}`), 0, "named_metrics must be a JSON object"},
		{"JSON, twice", named, jsn(`{"named_metrics":{"m":1,"m":1}}`), 0, "named_metrics.m must be there at most once"},
		{"JSON, a map twice", named, jsn(`{"named_metrics":{},"namedMetrics":{}}`), 0, "named_metrics must be there at most once"},
		{"JSON, an object", named, jsn(`{"named_metrics":{"m":{}}}`), 0, "named_metrics.m must be a finite decimal number"},
		{"protobuf", named, bin(wire(nil).entry(8, "n", -1).entry(8, "m", 0.25).entry(5, "m", 1)), 0.25, ""},
		{"protobuf, utilization", gpu, bin(wire(nil).entry(8, "m", 0.25).entry(5, "m", 0.5)), 0.5, ""},
		{"protobuf, the last counts", named, bin(wire(nil).entry(8, "m", 1).entry(8, "m", 0.25)), 0.25, ""},
		{"protobuf, value before key", named, bin(wire(nil).bytes(8, wire(nil).double(2, 0.25).bytes(1, []byte("m")))), 0.25, ""},
		{"protobuf, no value", named, bin(wire(nil).bytes(8, wire(nil).bytes(1, []byte("m")))), 0, ""},
		{"protobuf, more fields", named, bin(wire(nil).bytes(8, wire(nil).varint(3, 1).bytes(1, []byte("m")).double(2, 0.25).fixed32(9, 1))), 0.25, ""},
		{"protobuf, NaN", named, bin(wire(nil).entry(8, "m", math.NaN())), 0, "named_metrics.m must be finite and not negative, got NaN"},
		{"protobuf, infinite", named, bin(wire(nil).entry(8, "m", math.Inf(1))), 0, "named_metrics.m must be finite"},
		{"protobuf, cut off", named, bin(wire(nil).bytes(8, wire(nil).double(2, 1)[:4])), 0, "in protobuf"},
		{"protobuf, cut off in a tag", named, bin(wire(nil).bytes(8, wire{0x80})), 0, "in protobuf"},
		{"protobuf, more than the largest number", named, bin(wire(nil).bytes(8, wire(nil).varint(1<<29, 1))), 0, "invalid field number"},
	} {
		r, found, err := tt.metric.From(tt.h)
		if r.Named != tt.want || found != (tt.err == "") || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: got %v (%v), want %v (%s)", tt.name, r.Named, err, tt.want, tt.err)
		}
	}
}

// The metric is the utilization before the application's, which is before that of the CPU.
func TestMetricIsTheLoad(t *testing.T) {
	r := Report{Named: 0.2, Application: 0.4, CPU: 0.8, RPS: 100}
	if r.Load() != 0.2 || r.Weight(1) != 500 {
		t.Errorf("a load of %v and a weight of %v, want 0.2 and 500", r.Load(), r.Weight(1))
	}
	if r.Named = 0; r.Load() != 0.4 {
		t.Errorf("a load of %v without the metric, want 0.4", r.Load())
	}
}

// Of any bytes, the metric is what the protobuf library finds under its name, within bounds. Of
// JSON likewise.
func FuzzMetric(f *testing.F) {
	for _, seed := range []string{
		string(wire(nil).entry(8, "m", 0.5).entry(8, "n", 1).entry(5, "m", 2)), string(wire(nil).bytes(8, wire(nil).double(2, 1).bytes(1, []byte("m")))),
		string(wire(nil).bytes(8, wire(nil).varint(2, 1).group(3, nil))), `{"named_metrics":{"m":0.5,"n":1}}`, `{"namedMetrics":{"m":"1"}}`, `{"named_metrics":{"m":null}}`,
	} {
		f.Add(seed)
	}
	metric := Metric{namedMetrics, "m"}
	named := func(m *dynamicpb.Message) float64 {
		all := m.Get(message.Fields().ByName("named_metrics")).Map()
		if v := all.Get(protoreflect.ValueOfString("m").MapKey()); v.IsValid() {
			return v.Float()
		}
		return 0
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := metric.Parse([]byte(s))
		m := dynamicpb.NewMessage(message)
		if err == nil && proto.Unmarshal([]byte(s), m) == nil && r.Named != named(m) {
			t.Errorf("%x: %v, and the library: %v", s, r.Named, named(m))
		}
		r, _, err = metric.From(jsn(s))
		m = dynamicpb.NewMessage(message)
		if err == nil && protojson.Unmarshal([]byte(s), m) == nil && r.Named != named(m) {
			t.Errorf("%q: %v, and the library: %v", s, r.Named, named(m))
		}
		if !(r.Named >= 0 && r.Named <= math.MaxFloat64) {
			t.Errorf("%v is accepted", r.Named)
		}
	})
}
