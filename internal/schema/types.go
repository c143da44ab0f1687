// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"encoding"
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
)

// Property is a field of a type as encoding/json sees it: those of embedded types are its own.
type Property struct {
	// Name is the name in JSON.
	Name string
	// Of is the name of the field in [Fields]; empty if it is not Ballast's.
	Of string
	// Type is the type of the value.
	Type reflect.Type
	// Namespaces are those of the modules that the value is made of; nil for other values.
	Namespaces []string
	// InlineKey is the key with the name of the module; empty if the key of an object has it.
	InlineKey string
}

// Properties returns the members of a struct.
func Properties(t reflect.Type) (all []Property) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		elem := f.Type
		for elem.Kind() == reflect.Pointer {
			elem = elem.Elem()
		}
		switch {
		case f.Anonymous && tag == "" && elem.Kind() == reflect.Struct:
			all = append(all, Properties(elem)...)
		case f.IsExported() && tag != "" && tag != "-":
			m := Property{Name: tag, Type: f.Type}
			if of, ok := name(t); ok {
				m.Of = of + "." + f.Name
			}
			m.Namespaces, m.InlineKey = modules(f.Tag.Get("caddy"))
			m.Namespaces = append(slices.Clip(further[m.Of]), m.Namespaces...)
			all = append(all, m)
		}
	}
	return all
}

// further are the namespaces of properties beside that of their tag, which come first.
var further = map[string][]string{"pool.Config.SourcesRaw": {"ballast.discovery"}}

// modules parses the tag that Caddy reads.
func modules(tag string) (namespaces []string, inlineKey string) {
	for pair := range strings.FieldsSeq(tag) {
		key, value, _ := strings.Cut(pair, "=")
		switch key {
		case "namespace":
			namespaces = []string{value}
		case "inline_key":
			inlineKey = value
		}
	}
	return namespaces, inlineKey
}

// qualifier is before the name of a module where two namespaces have it, as in `from upstreams.http`.
const qualifier = "upstreams."

// Names returns the names of the registered modules of some namespaces.
func Names(namespaces []string) (all []string) {
	for _, ns := range namespaces {
		for _, info := range caddy.GetModules(ns) {
			names := []string{info.ID.Name()}
			if len(namespaces) > 1 && strings.HasSuffix("."+ns+".", "."+qualifier) {
				names = append(names, qualifier+names[0])
			}
			for _, name := range names {
				if TypeOf(info).Kind() == reflect.Struct && !slices.Contains(all, name) {
					all = append(all, name)
				}
			}
		}
	}
	return all
}

// moduleType returns the type of a registered module, of the first of the namespaces that has it, or
// nil.
func moduleType(namespaces []string, name string) reflect.Type {
	if len(namespaces) > 1 {
		name = strings.TrimPrefix(name, qualifier)
	}
	for _, ns := range namespaces {
		if info, err := caddy.GetModule(strings.TrimPrefix(ns+"."+name, ".")); err == nil {
			return TypeOf(info)
		}
	}
	return nil
}

// TypeOf returns the type of a module, without pointer.
func TypeOf(info caddy.ModuleInfo) reflect.Type {
	t := reflect.TypeOf(info.New())
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

var (
	rawType      = reflect.TypeFor[json.RawMessage]()
	durationType = reflect.TypeFor[caddy.Duration]()
	sizeType     = reflect.TypeFor[caddyfileutil.Size]()
	moduleMap    = reflect.TypeFor[caddy.ModuleMap]()
	matcherSets  = reflect.TypeFor[caddyhttp.RawMatcherSets]()
)

// opaque reports whether only the type itself knows its JSON. Those of Ballast that decode
// themselves do it for their errors.
func opaque(t reflect.Type) bool {
	if _, ours := name(t); ours {
		return false
	}
	for _, i := range []reflect.Type{reflect.TypeFor[json.Unmarshaler](), reflect.TypeFor[encoding.TextUnmarshaler]()} {
		if t.Implements(i) || reflect.PointerTo(t).Implements(i) {
			return true
		}
	}
	return false
}

// Leaf is a value of a configuration with the field that it belongs to.
type Leaf struct {
	// Path is the place in the configuration, such as apps/ballast/pools/web/refresh.
	Path string
	// Of are the names in [Fields] of the field and of those that it is in, from the outside in;
	// those that are not Ballast's are left out.
	Of []string
	// Value is the value as [json.Unmarshal] returns it.
	Value any
}

// Leaves returns all values of a configuration of Caddy but objects with members, and lists. The
// name of a module is a value, too.
func Leaves(config []byte) (all []Leaf, err error) {
	var v any
	if err := json.Unmarshal(config, &v); err != nil {
		return nil, err
	}
	leaves(v, Property{Type: reflect.TypeFor[caddy.Config]()}, nil, nil, &all)
	return all, nil
}

func leaves(v any, m Property, path, of []string, all *[]Leaf) {
	t := m.Type
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	object, _ := v.(map[string]any)
	list, isList := v.([]any)
	switch {
	case t == nil, object != nil && len(object) == 0:
		*all = append(*all, Leaf{strings.Join(path, "/"), of, v})
	case t == rawType && len(m.Namespaces) > 0 && object != nil:
		name, _ := object[m.InlineKey].(string)
		*all = append(*all, Leaf{strings.Join(append(slices.Clip(path), m.InlineKey), "/"), of, name})
		leaves(v, Property{Type: moduleType(m.Namespaces, name)}, path, of, all)
	case t == moduleMap && object != nil:
		for key, value := range object {
			leaves(value, Property{Type: moduleType(m.Namespaces, key)}, append(slices.Clip(path), key), of, all)
		}
	case t == matcherSets || t.Kind() == reflect.Slice && isList:
		elem := m
		if elem.Type = t.Elem(); t == matcherSets {
			elem.Type = moduleMap
		}
		for i, value := range list {
			leaves(value, elem, append(slices.Clip(path), strconv.Itoa(i)), of, all)
		}
	case t.Kind() == reflect.Map && object != nil:
		elem := m
		elem.Type = t.Elem()
		for key, value := range object {
			leaves(value, elem, append(slices.Clip(path), key), of, all)
		}
	case t.Kind() == reflect.Struct && object != nil && !opaque(t):
		for _, member := range Properties(t) {
			if value, ok := object[member.Name]; ok {
				in := of
				if member.Of != "" {
					in = append(slices.Clip(of), member.Of)
				}
				leaves(value, member, append(slices.Clip(path), member.Name), in, all)
			}
		}
	default:
		*all = append(*all, Leaf{strings.Join(path, "/"), of, v})
	}
}
