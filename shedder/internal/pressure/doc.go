// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package pressure tells how much is in use of the machine, or of the cgroup that
// the process is confined to: of its CPU time, of its memory, and how much of
// the time some of its tasks stall for want of either or of I/O.
//
// What is read are files of Linux, and the formats of version 1 and 2 of cgroups:
// https://docs.kernel.org/admin-guide/cgroup-v2.html,
// https://docs.kernel.org/admin-guide/cgroup-v1/ and
// https://docs.kernel.org/accounting/psi.html. procfs parses /proc/stat and
// /proc/self/cgroup; the parsers of the other files say why they exist. Files are the
// kernel's, so they are read without a bound, but never trusted: what is no number is
// an error.
package pressure
