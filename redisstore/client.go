// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"go.uber.org/zap"
)

func init() { redis.SetLogger(libraryLog{}) }

// libraryLog writes what the library has to say at the level DEBUG, instead of to standard error.
// The fleet logs that a store fails, and that it is back.
type libraryLog struct{}

// Printf implements the interface of the library.
func (libraryLog) Printf(_ context.Context, format string, args ...any) {
	if entry := caddy.Log().Named("ballast.fleet.redis").Check(zap.DebugLevel, "client"); entry != nil {
		entry.Write(zap.String("message", fmt.Sprintf(format, args...)))
	}
}

// client is a client of the library with its connections.
type client struct {
	redis.UniversalClient
	*dialer
}

// poolSize is the most connections of a client to a server. Calls come one after the other; more
// than one is in use only while one is replaced.
const poolSize = 3

// open returns a client. It connects with the first command, and never retries: the fleet does, with
// a back-off.
func (s *Server) open(secure *tls.Config) client {
	d := &dialer{addresses: s.Address, tls: secure}
	timeout := time.Duration(s.Timeout)
	var credentials func(context.Context) (string, string, error)
	if s.PasswordFile != "" {
		credentials = func(context.Context) (string, string, error) {
			password, err := s.filePassword()
			return s.Username, password, err
		}
	}
	const (
		none     = -1 // 0 is the library's default
		protocol = 2  // version 3 brings messages that nobody asked for
	)
	switch {
	case s.Sentinel != nil:
		return client{redis.NewFailoverClient(&redis.FailoverOptions{
			MasterName: s.Sentinel.Name, SentinelAddrs: s.Sentinel.Addresses,
			SentinelUsername: s.Sentinel.Username, SentinelPassword: s.Sentinel.Password,
			Username: s.Username, Password: s.Password, CredentialsProviderContext: credentials, DB: s.DB,
			Dialer: d.dial, DialTimeout: dialTimeout, DialerRetries: 1, ReadTimeout: timeout, WriteTimeout: timeout,
			MaxRetries: none, ContextTimeoutEnabled: true, PoolSize: poolSize, PoolTimeout: dialTimeout,
			Protocol: protocol, DisableIdentity: true, // notifications of maintenance are off
		}), d}
	case len(s.Cluster) > 0:
		return client{redis.NewClusterClient(&redis.ClusterOptions{
			Addrs:    s.Cluster,
			Username: s.Username, Password: s.Password, CredentialsProviderContext: credentials,
			Dialer: d.dial, DialTimeout: dialTimeout, DialerRetries: 1, ReadTimeout: timeout, WriteTimeout: timeout,
			MaxRetries: none, MaxRedirects: 2, DisableRoutingPolicies: true, ContextTimeoutEnabled: true, PoolSize: poolSize, PoolTimeout: dialTimeout,
			Protocol: protocol, DisableIdentity: true,
			MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		}), d}
	}
	return client{redis.NewClient(&redis.Options{
		Addr:     s.Address[0],
		Username: s.Username, Password: s.Password, CredentialsProviderContext: credentials, DB: s.DB,
		Dialer: d.dial, DialTimeout: dialTimeout, DialerRetries: 1, ReadTimeout: timeout, WriteTimeout: timeout,
		MaxRetries: none, ContextTimeoutEnabled: true, PoolSize: poolSize, PoolTimeout: dialTimeout,
		Protocol: protocol, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}), d}
}
