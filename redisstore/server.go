// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/caddyserver/caddy/v2"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
)

// Server configures which Redis or Valkey is used, and how. All modules of this package embed it. Strings may
// contain placeholders, such as {env.HOST}.
type Server struct {
	// Address lists addresses of one server, host:port or unix//path; the first that accepts a
	// connection is used. Default, without Sentinel and Cluster: localhost:6379.
	Address []string `json:"address,omitempty"`
	// Sentinel finds the primary through Redis Sentinel, and follows failovers.
	Sentinel *Sentinel `json:"sentinel,omitempty"`
	// Cluster lists addresses of some nodes of a Redis Cluster, host:port. All keys of a fleet are in
	// one slot, so one node has them.
	Cluster []string `json:"cluster,omitempty"`
	// Username is the name in the server's access control list. Default: the server's default
	// user.
	Username string `json:"username,omitempty"`
	// Password is the password. A placeholder such as {env.REDIS_PASSWORD} keeps it out of the
	// configuration.
	Password string `json:"password,omitempty"`
	// PasswordFile is the path of a file with the password. It is read for each connection, so
	// the password can change without a reload.
	PasswordFile string `json:"password_file,omitempty"`
	// DB is the number of the database, from 0 to 65535. A cluster has only database 0. Default: 0.
	DB int `json:"db,omitempty"`
	// Prefix is the beginning of all keys, which are "{prefix}:...". Fleets that share a database
	// need different prefixes. At most 100 bytes without spaces and braces. Default: ballast.
	Prefix string `json:"prefix,omitempty"`
	// Timeout is how long a command may take, from 10ms to 10s. It must be longer than a round
	// trip to the server. Connecting may take 500ms in addition. Default: 50ms.
	Timeout caddy.Duration `json:"timeout,omitempty"`
	// TLS encrypts the connections, also those to sentinels. Default: none.
	TLS *TLS `json:"tls,omitempty"`

	resolved *Server // a copy with placeholders replaced; set by provision
}

// Sentinel configures how the primary is found through Redis Sentinel.
type Sentinel struct {
	// Name is the name under which the sentinels monitor the primary. Required.
	Name string `json:"name"`
	// Addresses lists some of the sentinels, host:port. Required.
	Addresses []string `json:"addresses"`
	// Username is the user name at the sentinels, which may differ from that at the server.
	// Default: none.
	Username string `json:"username,omitempty"`
	// Password is the password at the sentinels. Default: none.
	Password string `json:"password,omitempty"`
}

const (
	defaultAddress = "localhost:6379"
	defaultPrefix  = "ballast"
	defaultTimeout = 50 * time.Millisecond
	unixPrefix     = "unix/"
	maxPrefix      = 100
)

var (
	databases = caddyfileutil.Ints{Min: 0, Max: math.MaxUint16}
	ports     = caddyfileutil.Ints{Min: 1, Max: math.MaxUint16}
	timeouts  = caddyfileutil.Durations{Min: 10 * time.Millisecond, Max: 10 * time.Second}
)

// provision sets defaults, replaces placeholders, and checks the options.
func (s *Server) provision() error {
	if len(s.Address) == 0 && s.Sentinel == nil && len(s.Cluster) == 0 {
		s.Address = []string{defaultAddress}
	}
	if s.Prefix == "" {
		s.Prefix = defaultPrefix
	}
	if s.Timeout == 0 {
		s.Timeout = caddy.Duration(defaultTimeout)
	}
	if err := s.check(); err != nil {
		return err
	}
	resolved, err := s.resolve()
	if err != nil {
		return err
	}
	if err := resolved.check(); err != nil {
		return err
	}
	if s.PasswordFile != "" {
		if _, err := resolved.filePassword(); err != nil {
			return err
		}
	}
	s.resolved = resolved
	return nil
}

// resolve returns a copy with placeholders replaced.
func (s *Server) resolve() (*Server, error) {
	repl := caddy.NewReplacer()
	var failed error
	replace := func(option, text string) string {
		out, err := repl.ReplaceOrErr(text, true, true)
		if err != nil && failed == nil {
			failed = fmt.Errorf("%s: %w", option, err)
		}
		return out
	}
	all := func(option string, texts []string) (out []string) {
		for _, text := range texts {
			out = append(out, replace(option, text))
		}
		return out
	}
	c := *s
	c.Address, c.Cluster = all("address", s.Address), all("cluster", s.Cluster)
	c.Username, c.Password = replace("username", s.Username), replace("password", s.Password)
	c.PasswordFile, c.Prefix = replace("password_file", s.PasswordFile), replace("prefix", s.Prefix)
	if s.Sentinel != nil {
		c.Sentinel = &Sentinel{
			Name: replace("sentinel", s.Sentinel.Name), Addresses: all("sentinel", s.Sentinel.Addresses),
			Username: replace("sentinel_username", s.Sentinel.Username), Password: replace("sentinel_password", s.Sentinel.Password),
		}
	}
	if s.TLS != nil {
		c.TLS = &TLS{
			CA: replace("ca", s.TLS.CA), Certificate: replace("certificate", s.TLS.Certificate), Key: replace("certificate", s.TLS.Key),
			ServerName: replace("server_name", s.TLS.ServerName), InsecureSkipVerify: s.TLS.InsecureSkipVerify,
		}
	}
	return &c, failed
}

// check returns an error if an option is invalid. Addresses and prefixes with placeholders are valid until
// these are replaced.
func (s *Server) check() error {
	ways := 0
	for _, given := range []bool{len(s.Address) > 0, s.Sentinel != nil, len(s.Cluster) > 0} {
		if given {
			ways++
		}
	}
	switch {
	case ways > 1:
		return errors.New("address, sentinel and cluster exclude each other; write one of them")
	case s.Password != "" && s.PasswordFile != "":
		return errors.New("password and password_file exclude each other; write one of them")
	case len(s.Cluster) > 0 && s.DB != 0:
		return errors.New("a cluster has only database 0; remove db, or use a prefix")
	case s.Username != "" && s.Password == "" && s.PasswordFile == "":
		return errors.New("username needs a password; write `password <text>` or `password_file <path>`")
	}
	if s.Timeout != 0 {
		if err := timeouts.Check("timeout", s.Timeout); err != nil {
			return err
		}
	}
	if err := cmp.Or(databases.Check("db", s.DB), s.checkPrefix()); err != nil {
		return err
	}
	if s.Sentinel != nil {
		if err := s.Sentinel.check(); err != nil {
			return err
		}
	}
	return cmp.Or(s.checkAddress(), s.checkCluster(), s.TLS.check())
}

func (s *Sentinel) check() error {
	if err := s.checkWhere(); err != nil {
		return err
	}
	if s.Username != "" && s.Password == "" {
		return errors.New("sentinel_username needs sentinel_password")
	}
	return nil
}

// checkWhere returns an error if the name or an address is invalid.
func (s *Sentinel) checkWhere() error {
	switch {
	case s.Name == "" || strings.ContainsFunc(s.Name, unicode.IsSpace):
		return fmt.Errorf("sentinel: the name of the master is missing, got %q; write sentinel <name> <host:port...>", s.Name)
	case len(s.Addresses) == 0:
		return errors.New("sentinel: addresses are missing; write sentinel <name> <host:port...>")
	}
	return checkAddresses("sentinel", false, s.Addresses)
}

func (s *Server) checkAddress() error { return checkAddresses("address", true, s.Address) }
func (s *Server) checkCluster() error { return checkAddresses("cluster", false, s.Cluster) }

func checkAddresses(option string, unix bool, addresses []string) error {
	for _, address := range addresses {
		if placeholder(address) || unix && len(address) > len(unixPrefix) && strings.HasPrefix(address, unixPrefix) {
			continue
		}
		host, port, err := net.SplitHostPort(address)
		if _, portErr := ports.Parse("port", port); err != nil || host == "" || portErr != nil {
			form := "host:port such as 10.0.0.1:6379"
			if unix {
				form += ", or unix//path"
			}
			return fmt.Errorf("%s must be %s, got %q", option, form, address)
		}
	}
	return nil
}

func (s *Server) checkPrefix() error {
	prefix := s.Prefix
	invalid := func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == '{' || r == '}' }
	if placeholder(prefix) {
		return nil
	}
	if len(prefix) > maxPrefix || strings.ContainsFunc(prefix, invalid) {
		return fmt.Errorf("prefix must be at most %d bytes without spaces and braces, got %q", maxPrefix, prefix)
	}
	return nil
}

// placeholder reports whether text contains a placeholder.
func placeholder(text string) bool {
	_, rest, found := strings.Cut(text, "{")
	return found && strings.Contains(rest, "}")
}

// filePassword returns the content of the password file, without line breaks at its end.
func (s *Server) filePassword() (string, error) {
	data, err := os.ReadFile(s.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("password_file: %w", err)
	}
	password := strings.TrimRight(string(data), "\r\n")
	if password == "" {
		return "", fmt.Errorf("password_file: %s is empty", s.PasswordFile)
	}
	return password, nil
}
