// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package pressure measures how much of the machine, or of the cgroup that confines the process, is
// in use: the share of CPU time, the share of memory, and the share of time in which tasks stall
// for lack of CPU, memory or I/O.
//
// It reads the files of Linux and of cgroups of version 1 and 2:
// https://docs.kernel.org/admin-guide/cgroup-v2.html,
// https://docs.kernel.org/admin-guide/cgroup-v1/ and https://docs.kernel.org/accounting/psi.html.
// procfs parses /proc/stat and /proc/self/cgroup; the other parsers say why they do not use it. The
// size of the kernel's files is not bounded, but their content is validated: a value that is not a
// number is an error.
package pressure
