// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

// Package schema describes the JSON configuration of this binary: as a JSON schema for editors, and
// field by field for the reference in docs/. Types come from the registered modules by reflection;
// comments, defaults and bounds, which a binary does not have, from fields.jsonl, which a test of
// the root package makes from the source.
package schema
