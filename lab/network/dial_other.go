// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package network

import (
	"errors"
	"syscall"
)

func inNamespace(string, func() error) error { return errors.ErrUnsupported }

func dieWithParent() *syscall.SysProcAttr { return nil }

func ownSession() *syscall.SysProcAttr { return nil }

// loopbackNetwork is empty: systems other than Linux only have 127.0.0.1.
const loopbackNetwork = ""
