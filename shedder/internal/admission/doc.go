// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package admission decides which requests may go on while there are more than
// can be answered: how many may be in flight, who is refused first, and who
// waits. It knows nothing of HTTP.
package admission
