// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"errors"
	"reflect"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/ballast-lb/caddy-ballast/internal/backend"
)

// settingsFlags adds a flag for each option of a backend, with the name of the option.
func settingsFlags(flags *pflag.FlagSet, s *backend.Settings) {
	options := reflect.ValueOf(s).Elem()
	for i := range options.NumField() {
		field := options.Type().Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		name, usage := strings.ReplaceAll(name, "_", "-"), field.Tag.Get("usage")
		switch option := options.Field(i).Addr().Interface().(type) {
		case *string:
			flags.StringVar(option, name, "", usage)
		case *int:
			flags.IntVar(option, name, 0, usage)
		case **int:
			flags.Var(optionalInt{option}, name, usage)
		case *bool:
			flags.BoolVar(option, name, false, usage)
		case *map[string]string:
			flags.StringToStringVar(option, name, nil, usage)
		default:
			panic("admin: no flag for the type of " + field.Name)
		}
	}
}

// optionalInt is a flag for a number that may be absent.
type optionalInt struct{ option **int }

// Set implements [pflag.Value].
func (o optionalInt) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err == nil {
		*o.option = &n
	}
	return err
}

// String implements [pflag.Value].
func (o optionalInt) String() string {
	if o.option == nil || *o.option == nil {
		return ""
	}
	return strconv.Itoa(**o.option)
}

// Type implements [pflag.Value].
func (optionalInt) Type() string { return "int" }

// onOff is a flag that is on or off.
type onOff bool

// Set implements [pflag.Value].
func (o *onOff) Set(s string) error {
	if s != "on" && s != "off" {
		return errors.New("must be on or off")
	}
	*o = s == "on"
	return nil
}

// String implements [pflag.Value].
func (o *onOff) String() string {
	if *o {
		return "on"
	}
	return "off"
}

// Type implements [pflag.Value].
func (*onOff) Type() string { return "on|off" }

// Interface guards
var (
	_ pflag.Value = optionalInt{}
	_ pflag.Value = (*onOff)(nil)
)
