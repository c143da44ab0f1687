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

// libraryLog logs the messages of go-redis at the level DEBUG, instead of to standard error. The fleet
// itself logs when the store fails and when it works again.
type libraryLog struct{}

// Printf implements the logger interface of go-redis.
func (libraryLog) Printf(_ context.Context, format string, args ...any) {
	if entry := caddy.Log().Named("ballast.fleet.redis").Check(zap.DebugLevel, "client"); entry != nil {
		entry.Write(zap.String("message", fmt.Sprintf(format, args...)))
	}
}

// client is a client of go-redis, with the dialer of its connections.
type client struct {
	redis.UniversalClient
	*dialer
}

// poolSize is the maximum number of connections of a client to a server. Calls are sequential, so more than
// one is in use only while a connection is being replaced.
const poolSize = 3

// open returns a client. It connects with its first command. It never retries, since the fleet does so with a
// backoff.
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
		none     = -1 // 0 means the default of go-redis
		protocol = 2  // with version 3, servers send unsolicited messages
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
