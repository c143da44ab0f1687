// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package fleet contains the option `fleet` of the app, the contract of stores, also for modules of
// other repositories, and a store on Caddy's storage. The instances of a fleet share sessions,
// registrations, run-time changes and limits.
//
// A store implements [Store] and [Conn]; package fleettest tests its rules.
package fleet
