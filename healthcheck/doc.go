// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package healthcheck contains the health checks of backends. A [Check] probes one backend; each
// kind of check is a guest module of a pool's `health` list, with its own file:
//
//	ballast.checks.http   one request, with checks of status and body
//	ballast.checks.tcp    a connection and, optionally, what the backend sends
//	ballast.checks.grpc   the gRPC health checking protocol
//	ballast.checks.agent  a program beside the backend that sets its weight and state
//
// A [Prober] runs a check on one backend on a schedule. Configurations share it, so that a reload
// neither interrupts a probe nor loses a status.
package healthcheck
