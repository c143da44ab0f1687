// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// RunProgram is the main function of a program that starts backends. It calls [Main], parses the
// command line and calls run, whose context ends with the first signal; a second one ends the
// process at once. The exit status is 1 if run does not pass, and 2 for an error.
func RunProgram[O any](name string, parse func(args []string) (O, error), run func(ctx context.Context, o O) (passed bool, err error)) {
	Main()
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	passed := false
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		context.AfterFunc(ctx, stop)
		passed, err = run(ctx, o)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(2)
	}
	if !passed {
		os.Exit(1)
	}
}
