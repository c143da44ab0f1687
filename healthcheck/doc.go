// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package healthcheck probes backends. A [CheckReport] probes one backend once; each
// kind of check is a guest module of a pool's `health` list and one file here:
//
//	ballast.checks.http   one request, judged by status and body
//	ballast.checks.tcp    a connection, and what it says
//	ballast.checks.grpc   the health service of gRPC
//	ballast.checks.agent  a program beside the backend, which sets its weight and state
//
// A [Prober] runs a check on one backend on a schedule. It is shared by the
// configurations that use it, so that a reload neither interrupts a probe nor
// forgets a verdict.
package healthcheck
