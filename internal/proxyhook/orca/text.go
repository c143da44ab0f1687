// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package orca

import (
	"fmt"
	"strings"
)

// text parses pairs such as eps=1 or named_metrics.queue=0.4, with commas between them, after the
// word TEXT. No pairs are a valid report: servers without metrics yet send that.
func (p *parser) text(s string) error {
	for pair := range strings.SplitSeq(s, ",") {
		if pair = trim(pair); pair == "" {
			continue // as in any list in a header (RFC 9110 5.6.1)
		}
		if err := p.pair(pair); err != nil {
			return err
		}
	}
	return nil
}

func (p *parser) pair(s string) error {
	// The specification has "=", and Envoy had ":" at first. Names from Prometheus may contain a
	// ":", numbers contain neither.
	at := strings.IndexByte(s, '=')
	if at < 0 {
		at = strings.LastIndexByte(s, ':')
	}
	if at < 0 {
		return fmt.Errorf("must have pairs such as eps=1, got %.40q", s)
	}
	path := trim(s[:at])
	name, key, isEntry := strings.Cut(path, ".")
	for number := cpuUtilization; number < endOfFields; number++ {
		f := &fields[number]
		if f.name != name || f.isMap != isEntry {
			continue
		}
		if f.isMap {
			if p.metric.is(number, key) {
				return p.setMetricDecimal(trim(s[at+1:]))
			}
			return nil
		}
		if err := p.checkOnce(number); err != nil || !f.read {
			return err
		}
		return p.setDecimal(number, trim(s[at+1:]))
	}
	return fmt.Errorf("must have fields of OrcaLoadReport, those of maps as map.key, got %.40q", path)
}
