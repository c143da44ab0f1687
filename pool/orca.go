// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/healthcheck"
	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/clip"
	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/orca"
)

// reportIntervals bounds orca_report: a report is valid for 3 minutes.
var reportIntervals = caddyfileutil.Durations{Min: 100 * time.Millisecond, Max: time.Minute}

// defaultReportInterval is the default of Envoy.
const defaultReportInterval = caddy.Duration(10 * time.Second)

// checkOrca returns an error for an invalid option of load reports.
func (c *Config) checkOrca() error {
	if _, err := orca.ParseMetric(c.OrcaMetric); err != nil {
		return fmt.Errorf("orca_metric %w", err)
	}
	return reportIntervals.Check("orca_report", c.OrcaReport)
}

// parseOrcaReport parses orca_report and its optional interval.
func (c *Config) parseOrcaReport(d *caddyfile.Dispenser) error {
	if d.CountRemainingArgs() == 0 {
		c.OrcaReport = defaultReportInterval
		return caddyfileutil.NoBlock(d, "orca_report")
	}
	return reportIntervals.Option(&c.OrcaReport)(d)
}

// receiveReports starts the stream of load reports of member n of all members that start together. The streams of a
// large pool are spread like its first probes.
func (m *member) receiveReports(n, all int) {
	p := m.pool
	if p.reportInterval == 0 {
		return
	}
	log := p.app.logger.With(zap.String("pool", p.Name), zap.String("backend", m.ID))
	m.reports = &healthcheck.LoadReports{
		Target:   healthcheck.NewTarget(m.Address, p.usesScheme(), 0).Through(p.transport).Of(m.Backend),
		Interval: p.reportInterval,
		Delay:    time.Duration(n) * min(spread, p.reportInterval/time.Duration(all)),
		Receive:  func(message []byte) error { return p.metric.RecordMessage(m.Backend, message) },
		Changed: func(err error) {
			if err != nil {
				log.Warn("load reports of the backend fail; trying again", zap.Error(clip.Error(err)))
			} else {
				log.Info("load reports of the backend work again")
			}
		},
	}
	m.reports.Start()
}
