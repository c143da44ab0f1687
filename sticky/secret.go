// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/ballast-lb/caddy-ballast/internal/shared"
)

const (
	secretFile = "ballast/sticky/secret"
	// storageTime bounds how long the start of a configuration waits for the storage.
	storageTime = 5 * time.Second
)

// storage is the part of Caddy's storage that is needed.
type storage interface {
	Load(ctx context.Context, key string) ([]byte, error)
	Store(ctx context.Context, key string, value []byte) error
	Lock(ctx context.Context, name string) error
	Unlock(ctx context.Context, name string) error
}

// storedSecret returns the secret in Caddy's storage. If there is none, it creates one under a lock, so that
// instances that share a storage and start at the same time get the same secret. If the storage fails, the secret
// is kept in memory only, and sessions end with the process; requests are served in any case.
func storedSecret(ctx caddy.Context) string {
	limited, cancel := context.WithTimeout(ctx, storageTime)
	defer cancel()
	secret, err := readSecret(limited, ctx.Storage())
	if err == nil {
		return secret
	}
	ctx.Logger().Warn("session cookie secret is not in the storage; until this instance restarts, only it accepts the cookies that it sets; configure a secret, or repair the storage",
		zap.String("key", secretFile), zap.Error(err))
	// Never released: a reload must not end the sessions.
	return shared.LoadOrNew(new(shared.Refs), secretKey{}, newSecret)
}

type secretKey struct{}

func newSecret() string { return rand.Text() + rand.Text() }

func readSecret(ctx context.Context, st storage) (string, error) {
	if secret, err := loadSecret(ctx, st); !errors.Is(err, fs.ErrNotExist) {
		return secret, err
	}
	if err := st.Lock(ctx, secretFile); err != nil {
		return "", fmt.Errorf("locking: %w", err)
	}
	defer func() { _ = st.Unlock(context.WithoutCancel(ctx), secretFile) }()
	// Another instance may have been faster.
	if secret, err := loadSecret(ctx, st); !errors.Is(err, fs.ErrNotExist) {
		return secret, err
	}
	secret := newSecret()
	if err := st.Store(ctx, secretFile, []byte(secret)); err != nil {
		return "", fmt.Errorf("storing: %w", err)
	}
	return secret, nil
}

func loadSecret(ctx context.Context, st storage) (string, error) {
	data, err := st.Load(ctx, secretFile)
	if err != nil {
		return "", fmt.Errorf("loading: %w", err)
	}
	secret := strings.TrimSpace(string(data))
	if len(secret) < minSecret {
		return "", fmt.Errorf("%s has only %d characters; delete it, and Ballast creates another", secretFile, len(secret))
	}
	return secret, nil
}
