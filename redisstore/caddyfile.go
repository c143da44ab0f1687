// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"errors"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
)

// options returns the options of a server, to which each module adds its own.
func (s *Server) options() caddyfileutil.Options {
	return caddyfileutil.Options{
		"address": func(d *caddyfile.Dispenser) error {
			if len(s.Address) > 0 {
				return d.Err("the address is given twice, behind the name of the store and in its block; write it once")
			}
			return caddyfileutil.Valid(caddyfileutil.ReplacedStrings(&s.Address), s.checkAddress)(d)
		},
		"sentinel": func(d *caddyfile.Dispenser) error {
			var words []string
			return caddyfileutil.Valid(caddyfileutil.ReplacedStrings(&words), func() error {
				s.sentinel().Name, s.sentinel().Addresses = words[0], words[1:]
				return s.Sentinel.checkWhere()
			})(d)
		},
		"sentinel_username": func(d *caddyfile.Dispenser) error { return caddyfileutil.Replaced(&s.sentinel().Username)(d) },
		"sentinel_password": func(d *caddyfile.Dispenser) error { return caddyfileutil.Replaced(&s.sentinel().Password)(d) },
		"cluster":           caddyfileutil.Valid(caddyfileutil.ReplacedStrings(&s.Cluster), s.checkCluster),
		"username":          caddyfileutil.Replaced(&s.Username),
		"password":          caddyfileutil.Replaced(&s.Password),
		"password_file":     caddyfileutil.Replaced(&s.PasswordFile),
		"db":                databases.Option(&s.DB),
		"prefix":            caddyfileutil.Valid(caddyfileutil.Replaced(&s.Prefix), s.checkPrefix),
		"timeout":           timeouts.Option(&s.Timeout),
		"tls":               s.unmarshalTLS,
	}
}

// sentinel returns s.Sentinel, and creates it if it is nil.
func (s *Server) sentinel() *Sentinel {
	if s.Sentinel == nil {
		s.Sentinel = new(Sentinel)
	}
	return s.Sentinel
}

func (s *Server) unmarshalTLS(d *caddyfile.Dispenser) error {
	s.TLS = new(TLS)
	return caddyfileutil.Block(d, caddyfileutil.Options{
		"ca": caddyfileutil.Replaced(&s.TLS.CA),
		"certificate": func(d *caddyfile.Dispenser) error {
			var files []string
			return caddyfileutil.Valid(caddyfileutil.ReplacedStrings(&files), func() error {
				if len(files) != 2 {
					return errors.New("certificate needs two files; write certificate <file> <key>")
				}
				s.TLS.Certificate, s.TLS.Key = files[0], files[1]
				return nil
			})(d)
		},
		"server_name":          caddyfileutil.Replaced(&s.TLS.ServerName),
		"insecure_skip_verify": caddyfileutil.Flag(&s.TLS.InsecureSkipVerify),
	})
}

// unmarshal parses the directive of a module with these options, and checks the server.
func (s *Server) unmarshal(d *caddyfile.Dispenser, options caddyfileutil.Options) error {
	var address string
	caddyfileutil.Head(d, &address)
	position := *d
	if address != "" {
		s.Address = []string{address}
	}
	if err := caddyfileutil.Block(d, options.Hint(map[string]string{
		"host": "write `address <host:port>`", "addresses": "write `address <host:port...>`", "url": "write `address <host:port>`",
		"database": "write `db <n>`", "key_prefix": "write `prefix <text>`", "user": "write `username <name>`",
		"master": "write `sentinel <name> <host:port...>`", "master_name": "write `sentinel <name> <host:port...>`",
	})); err != nil {
		return err
	}
	if err := s.check(); err != nil {
		return position.WrapErr(err)
	}
	return nil
}
