// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package orca

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// message describes OrcaLoadReport to the protobuf library, which then has an
// opinion of its own of any bytes and any JSON.
var message = describe(`
	field { name: "mem_utilization" number: 2 label: LABEL_OPTIONAL type: TYPE_DOUBLE }` +
	mapped("request_cost", 4, "RequestCostEntry") + mapped("utilization", 5, "UtilizationEntry") + mapped("named_metrics", 8, "NamedMetricsEntry"))

// messageRead has only the fields that are read, so that the library skips the same
// ones of a message on the wire.
var messageRead = describe("")

// mapped describes a field that is a map.
func mapped(name string, number int, entry string) string {
	return fmt.Sprintf(`
	field { name: %q number: %d label: LABEL_REPEATED type: TYPE_MESSAGE type_name: ".xds.data.orca.v3.OrcaLoadReport.%s" }
	nested_type { name: %q options { map_entry: true }
		field { name: "key" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
		field { name: "value" number: 2 label: LABEL_OPTIONAL type: TYPE_DOUBLE } }`, name, number, entry, entry)
}

// describe returns a message with the fields that are read, and more.
func describe(more string) protoreflect.MessageDescriptor {
	const double = "label: LABEL_OPTIONAL type: TYPE_DOUBLE"
	file := new(descriptorpb.FileDescriptorProto)
	err := prototext.Unmarshal([]byte(`name: "orca.proto" package: "xds.data.orca.v3" syntax: "proto3"
		message_type { name: "OrcaLoadReport"
			field { name: "cpu_utilization" number: 1 `+double+` }
			field { name: "rps" number: 3 label: LABEL_OPTIONAL type: TYPE_UINT64 }
			field { name: "rps_fractional" number: 6 `+double+` }
			field { name: "eps" number: 7 `+double+` }
			field { name: "application_utilization" number: 9 `+double+` }
			`+more+`}`), file)
	if err != nil {
		panic(err)
	}
	desc, err := protodesc.NewFile(file, nil)
	if err != nil {
		panic(err)
	}
	return desc.Messages().Get(0)
}

// toMessage and fromMessage stand between a Report and what the protobuf library
// has.
func toMessage(r Report) *dynamicpb.Message {
	m := dynamicpb.NewMessage(messageRead)
	for name, v := range map[protoreflect.Name]float64{
		"cpu_utilization": r.CPU, "application_utilization": r.Application, "rps_fractional": r.RPS, "eps": r.EPS,
	} {
		m.Set(messageRead.Fields().ByName(name), protoreflect.ValueOfFloat64(v))
	}
	return m
}

func fromMessage(m *dynamicpb.Message) (r Report) {
	value := func(name protoreflect.Name) protoreflect.Value { return m.Get(m.Descriptor().Fields().ByName(name)) }
	r = Report{
		CPU: value("cpu_utilization").Float(), Application: value("application_utilization").Float(),
		RPS: value("rps_fractional").Float(), EPS: value("eps").Float(),
	}
	if r.RPS == 0 {
		r.RPS = float64(value("rps").Uint())
	}
	return r
}

// within reports whether all values are within their bounds.
func within(r Report) bool {
	for _, v := range []float64{r.CPU, r.Application, r.RPS, r.EPS} {
		if !(v >= 0 && v <= math.MaxFloat64) {
			return false
		}
	}
	return true
}

// accept checks what From made of a header: values within bounds, the same
// report if it is sent in another form, and nothing at all with an error.
func accept(t *testing.T, r Report, found bool, err error) {
	t.Helper()
	if found == (err != nil) {
		t.Fatalf("found is %v, and the error %v", found, err)
	}
	if err != nil {
		if r != (Report{}) {
			t.Errorf("both %+v and %v", r, err)
		}
		return
	}
	if !within(r) {
		t.Errorf("%+v is accepted", r)
	}
	for _, penalty := range []float64{0, 1, 1e300} {
		if w := r.Weight(penalty); !(w >= 0 && w <= math.MaxFloat64) {
			t.Errorf("%+v weighs %v", r, w)
		}
	}
	m := toMessage(r)
	encoded, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	written, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	asText := fmt.Sprintf("cpu_utilization=%v,application_utilization=%v,rps_fractional=%v,eps=%v", r.CPU, r.Application, r.RPS, r.EPS)
	for _, h := range []http.Header{bin(encoded), {header: {"BIN " + base64.RawStdEncoding.EncodeToString(encoded)}}, jsn(string(written)), text(asText)} {
		if again, found, err := From(h); err != nil || !found || again != r {
			t.Errorf("%+v became %+v by way of %q (%v)", r, again, h, err)
		}
	}
}

// Whatever TEXT is accepted has values within bounds, and is the same report in
// the other forms.
func FuzzText(f *testing.F) {
	for _, seed := range []string{
		"cpu_utilization=0.3, mem_utilization=0.8, rps_fractional=10.0, eps=1, named_metrics.custom_metric_util=0.4",
		"application_utilization:2,rps:7,utilization.a:b:1,request_cost.x.y=1e3", "", ",", "=", ":", ".", "eps=NaN", "eps=inf", "eps=-0", "eps=-1",
		"eps=1e309", "eps=0x1p4", "eps=1_0", "eps==1", "eps=1,eps=1", "eps.x=1", "utilization=1", "named_metrics.=1", "utilization.x=2", "mem_utilization=1.1", "rps=1.5",
		"named_metrics.\xff=1", "named_metrics. x =1", list(65, "named_metrics.%d=1", ","),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, found, err := From(text(s))
		accept(t, r, found, err)
		if err != nil {
			return
		}
		for part := range strings.SplitSeq(s, ",") {
			if trim(part) != "" && !strings.ContainsAny(part, "=:") {
				t.Errorf("%q is accepted", part)
			}
		}
	})
}

// Whatever JSON is accepted is JSON, and what the protobuf library accepts is
// accepted with the same meaning, unless it is out of bounds.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{
		`{"cpu_utilization": 0.3, "mem_utilization": 0.8, "rps_fractional": 10.0, "eps": 1, "named_metrics": {"custom_metric_util": 0.4}}`,
		`{"cpuUtilization":"0.5","rps":"7","utilization":{"a":1},"requestCost":{"":"1e2"},"applicationUtilization":null}`,
		`{}`, `null`, `[]`, `{"eps":1}{}`, `{"eps":1,}`, `{"eps":01}`, `{"eps":"NaN"}`, `{"eps":-1}`, `{"eps":1,"eps":1}`, `{"eps":1,"x":1}`, `{"rps":1.5}`, `{"rps":1e0}`,
		`{"named_metrics":{"a":1,"a":1}}`, `{"named_metrics":{"\ud800":1,"\ufffd":1}}`, `{"named_metrics":{"a":null}}`, `{"named_metrics":{"a":{"b":1}}}`, "{\"named_metrics\":{\"\xff\":1}}",
		`{"named_metrics":{` + list(65, `"%d":1`, ",") + `}}`, `{"eps":" 1"}`, `{"EPS":1}`, `{"eps":1e309}`, `{"eps":true}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, found, err := From(jsn(s))
		accept(t, r, found, err)
		if err == nil && !json.Valid([]byte(s)) {
			t.Errorf("%q is accepted", s)
		}
		m := dynamicpb.NewMessage(message)
		if protojson.Unmarshal([]byte(s), m) != nil {
			return
		}
		want := fromMessage(m)
		ok := within(want) && len("JSON ")+len(s) <= maxLength
		if ok != (err == nil) || ok && r != want {
			t.Errorf("%q became %+v (%v), want %+v", s, r, err, want)
		}
	})
}

// Bytes are a message if the protobuf library says so, and mean the same, unless
// they are out of bounds or have a field that is read with another wire type, which
// the library takes for an unknown field.
func FuzzBinary(f *testing.F) {
	for _, seed := range []wire{
		nil,
		wire(nil).double(1, 0.3).double(2, 0.8).varint(3, 7).entry(4, "a", 1).entry(5, "b", 0.5).double(6, 10).double(7, 1).entry(8, "c", 0.4).double(9, 2),
		wire(nil).double(1, math.NaN()), wire(nil).double(1, math.Inf(1)), wire(nil).double(1, -1), wire(nil).double(1, 1).double(1, 2), wire(nil).varint(1, 1),
		wire(nil).entry(8, "a", 1).entry(8, "a", 2), wire(nil).bytes(8, nil), wire(nil).bytes(8, wire(nil).varint(3, 1).double(2, 1)), wire(nil).entry(8, "\xff", 1),
		wire(nil).group(20, wire(nil).group(21, nil)).fixed32(10, 1), wire(nil).varint(3, math.MaxUint64), entries(65), {0x80}, {0x09, 0}, {0x01}, {0x0c},
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, found, err := From(bin(b))
		accept(t, r, found, err)
		if err != nil && !strings.Contains(err.Error(), "in protobuf") {
			return
		}
		m := dynamicpb.NewMessage(messageRead)
		theirs := proto.Unmarshal(b, m)
		if (err == nil) != (theirs == nil) {
			t.Errorf("%x: %v, and the library: %v", b, err, theirs)
		}
		if want := fromMessage(m); err == nil && r != want {
			t.Errorf("%x became %+v, want %+v", b, r, want)
		}
	})
}

// Any base64 is decoded as the library does it, with and without padding.
func FuzzBase64(f *testing.F) {
	for _, seed := range []string{"", "CQAAAAAAAOA/", "SQAAAAAAAABAEA==", "SQAAAAAAAABAEA", "SQAAAAAAAABAEA=", "=", "====", "A", "A-_A", "a,b", " "} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, found, err := From(map[string][]string{headerBin: {s}})
		accept(t, r, found, err)
		r2, _, err2 := From(map[string][]string{header: {"BIN " + s}})
		if len(s)+len("BIN ") <= maxLength && ((err == nil) != (err2 == nil) || r != r2) {
			t.Errorf("%q is %+v (%v) and %+v (%v)", s, r, err, r2, err2)
		}
		if err == nil && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\r\n \t") != "" {
			t.Errorf("%q is accepted", s)
		}
	})
}
