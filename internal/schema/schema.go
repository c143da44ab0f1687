// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"cmp"
	"net/url"
	"path"
	"reflect"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// object is a JSON object.
type object = map[string]any

// builder makes a schema. Types and namespaces are definitions, by their name.
type builder struct {
	definitions object
	names       map[reflect.Type]string
}

// New returns a JSON schema (draft 7) of the whole configuration of this binary. The members of
// Ballast's objects are complete, so that a misspelled one is an error; other modules of Caddy may
// have more members than the schema says.
func New() map[string]any {
	b := &builder{make(object), make(map[reflect.Type]string)}
	root := b.value(Property{Type: reflect.TypeFor[caddy.Config]()})
	return object{
		"$schema":     "http://json-schema.org/draft-07/schema#",
		"title":       "Caddy with Ballast",
		"allOf":       []any{root},
		"definitions": b.definitions,
	}
}

// value returns the schema of the value of a property.
func (b *builder) value(m Property) object {
	t := m.Type
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	elem := m
	elem.Of = ""
	switch {
	case t == rawType && len(m.Namespaces) > 0 && m.InlineKey != "":
		return b.guest(m.Namespaces, m.InlineKey)
	case t == moduleMap && len(m.Namespaces) > 0:
		return b.byName(m.Namespaces)
	case t == matcherSets:
		elem.Type = moduleMap
		return object{"type": "array", "items": b.value(elem)}
	case t == durationType, t == sizeType:
		return object{"type": []any{"string", "integer"}}
	case t == rawType, opaque(t):
		return object{}
	}
	switch t.Kind() {
	case reflect.Struct:
		return b.reference(t)
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return object{"type": "string"}
		}
		elem.Type = t.Elem()
		return object{"type": "array", "items": b.value(elem)}
	case reflect.Map:
		elem.Type = t.Elem()
		return object{"type": "object", "additionalProperties": nullable(t.Elem(), b.value(elem))}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Float32, reflect.Float64:
		return object{"type": "number"}
	case reflect.Interface, reflect.Func, reflect.Chan:
		return object{}
	}
	return object{"type": "integer"}
}

// nullable allows null where a pointer is nil.
func nullable(t reflect.Type, schema object) object {
	if t.Kind() != reflect.Pointer {
		return schema
	}
	return object{"anyOf": []any{schema, object{"type": "null"}}}
}

// reference returns a reference to the definition of a struct.
func (b *builder) reference(t reflect.Type) object {
	if t.Name() == "" {
		return b.structure(t, "", "")
	}
	key, known := b.names[t]
	if !known {
		key = path.Base(t.PkgPath()) + "." + t.Name()
		if _, taken := b.definitions[key]; taken {
			key = t.PkgPath() + "." + t.Name()
		}
		b.names[t] = key
		b.definitions[key] = object{} // for recursion
		b.definitions[key] = b.structure(t, "", "")
	}
	return ref(key)
}

func ref(key string) object {
	return object{"$ref": "#/definitions/" + url.PathEscape(strings.NewReplacer("~", "~0", "/", "~1").Replace(key))}
}

// structure returns the schema of a struct, or of a module whose name is at a key.
func (b *builder) structure(t reflect.Type, inlineKey, module string) object {
	properties, required := make(object), []any(nil)
	for _, m := range Properties(t) {
		properties[m.Name] = b.described(m)
	}
	if inlineKey != "" {
		properties[inlineKey] = object{"const": module}
		required = []any{inlineKey}
	}
	s := object{"type": "object", "properties": properties}
	if required != nil {
		s["required"] = required
	}
	if of, ours := name(t); ours {
		s["additionalProperties"] = false
		if doc := fields()[of].Doc; doc != "" {
			s["description"] = doc
		}
	}
	return s
}

// described returns the schema of a property with its description and its bounds.
func (b *builder) described(m Property) object {
	s := b.value(m)
	f, ok := fields()[m.Of]
	if !ok {
		return s
	}
	text := f.Doc
	if f.Rule != "" && len(f.Enum) == 0 {
		text += " It must be " + f.Rule + "."
	}
	if f.Default != "" {
		text += " Default: " + f.Default + "."
	}
	if s["$ref"] != nil { // draft 7 ignores what is beside a reference
		s = object{"allOf": []any{s}}
	}
	s["description"] = strings.TrimSpace(text)
	switch s["type"] {
	case "string":
		if len(f.Enum) > 0 {
			s["enum"] = f.Enum
		}
	case "integer", "number":
		if f.Min != nil {
			s["minimum"] = min(*f.Min, 0) // zero is the default, or off
		}
		if f.Max != nil {
			s["maximum"] = *f.Max
		}
	}
	return s
}

// guest returns a reference to the schema of a module with its name at a key.
func (b *builder) guest(namespaces []string, inlineKey string) object {
	key := strings.Join(namespaces, " or ") + " by " + inlineKey
	if _, known := b.definitions[key]; known {
		return ref(key)
	}
	b.definitions[key] = object{}
	names, choices := []any(nil), []any(nil)
	for _, name := range Names(namespaces) {
		module := key + " " + name
		b.definitions[module] = b.structure(moduleType(namespaces, name), inlineKey, name)
		names = append(names, name)
		choices = append(choices, object{
			"if":   object{"properties": object{inlineKey: object{"const": name}}, "required": []any{inlineKey}},
			"then": ref(module),
		})
	}
	s := object{"type": "object", "properties": object{inlineKey: object{"enum": names}}, "required": []any{inlineKey}, "allOf": choices}
	if len(choices) == 0 {
		s = object{"type": "object"}
	}
	b.definitions[key] = s
	return ref(key)
}

// byName returns a reference to the schema of an object with modules by their names.
func (b *builder) byName(namespaces []string) object {
	key := cmp.Or(strings.Join(namespaces, " or "), "apps") + " by name"
	if _, known := b.definitions[key]; known {
		return ref(key)
	}
	b.definitions[key] = object{}
	properties := make(object)
	for _, ns := range namespaces {
		for _, info := range caddy.GetModules(ns) {
			properties[info.ID.Name()] = b.value(Property{Type: TypeOf(info)})
		}
	}
	b.definitions[key] = object{"type": "object", "properties": properties}
	return ref(key)
}
