// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package fleet shares what instances of Caddy know of each other: sessions, registrations,
// run-time changes and limits. It has what a module of another repository needs to be a store of a
// fleet, a store on Caddy's own storage, and the option of the app.
//
// A store implements [Store] and [Conn]; package fleettest tests its rules.
package fleet
