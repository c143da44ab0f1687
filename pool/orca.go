// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"fmt"

	"github.com/ballast-lb/caddy-ballast/internal/proxyhook/orca"
)

// checkOrcaMetric returns an error for a name that is no metric's.
func checkOrcaMetric(name string) error {
	if _, err := orca.ParseMetric(name); err != nil {
		return fmt.Errorf("orca_metric %w", err)
	}
	return nil
}
