// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
)

func init() { caddy.RegisterModule(new(File)) }

// File discovers the backends that a file lists. It checks every 250ms whether the file has changed, and reads it when
// two checks in a row have found it the same, so that it does not read a file that is being written. While the file is
// missing or invalid, the last valid list stays. See [ParseList] for the formats.
type File struct {
	// Path is the path of the file. Required.
	Path string `json:"path,omitempty"`
}

const filePoll = 250 * time.Millisecond

// CaddyModule returns the Caddy module information.
func (*File) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: Namespace + ".file", New: func() caddy.Module { return new(File) }}
}

// Provision checks the options.
func (f *File) Provision(caddy.Context) error {
	if f.Path == "" {
		return errors.New("the path is missing; write from file <path>")
	}
	return nil
}

// fileVersion is compared to detect changes of a file.
type fileVersion struct {
	size     int64
	modified time.Time
}

// Watch implements [Source].
func (f *File) Watch(ctx context.Context, update func(Update)) error {
	var seen, read fileVersion
	poll := time.NewTicker(filePoll)
	defer poll.Stop()
	for first := true; ; first = false {
		info, err := os.Stat(f.Path)
		if err != nil {
			return err
		}
		now := fileVersion{info.Size(), info.ModTime()}
		// What was written long ago needs no second look.
		same := now == seen || first && time.Since(now.modified) > time.Second
		if seen = now; same && now != read {
			all, err := f.read()
			if err != nil {
				return err
			}
			read = now
			update(Update{Endpoints: all})
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-poll.C:
		}
	}
}

func (f *File) read() (all []Endpoint, err error) {
	file, err := os.Open(f.Path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := readAll(file)
	if err == nil {
		all, err = ParseList(data)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Path, err)
	}
	return all, nil
}

// UnmarshalCaddyfile sets up the source from Caddyfile tokens. Syntax:
//
//	from file <path>
func (f *File) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	caddyfileutil.Head(d, &f.Path)
	if f.Path == "" {
		return d.Err("from file: the path is missing; write from file <path>")
	}
	if err := caddyfileutil.CheckFixed(d, "from file", f.Path); err != nil {
		return err
	}
	return caddyfileutil.Block(d, nil)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*File)(nil)
	_ caddyfile.Unmarshaler = (*File)(nil)
	_ Source                = (*File)(nil)
)
