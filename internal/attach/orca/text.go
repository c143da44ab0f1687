// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package orca

import (
	"fmt"
	"strings"
)

// text parses what follows TEXT: pairs such as eps=1 or named_metrics.queue=0.4,
// with commas between them. It may be empty: that is a report of nothing, which
// servers send that have no metrics yet.
func (d *draft) text(s string) error {
	for pair := range strings.SplitSeq(s, ",") {
		if pair = trim(pair); pair == "" {
			continue // as in any list in a header (RFC 9110 5.6.1)
		}
		if err := d.pair(pair); err != nil {
			return err
		}
	}
	return nil
}

func (d *draft) pair(s string) error {
	// The specification has "=", and Envoy had ":" at first. Names from Prometheus
	// have a ":" of their own, and numbers have neither.
	at := strings.IndexByte(s, '=')
	if at < 0 {
		at = strings.LastIndexByte(s, ':')
	}
	if at < 0 {
		return fmt.Errorf("must have pairs such as eps=1, got %.40q", s)
	}
	path, value := trim(s[:at]), trim(s[at+1:])
	name, key, isEntry := strings.Cut(path, ".")
	for number := cpuField; number < endOfFields; number++ {
		f := &fields[number]
		if f.name != name || f.isMap() != isEntry {
			continue
		}
		if isEntry && key == "" {
			return fmt.Errorf("%s. must have a name behind it", name)
		}
		v, err := f.parse(value)
		if err != nil {
			return err
		}
		if isEntry {
			return d.putOnce(number, key, v)
		}
		if err := d.once(number); err != nil {
			return err
		}
		d.set(number, v)
		return nil
	}
	return fmt.Errorf("must have fields of OrcaLoadReport, those of maps as map.key, got %.40q", path)
}
