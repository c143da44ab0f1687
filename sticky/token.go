// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
)

// A token is an encrypted binding in a cookie. Only the owner of the secret can read or create
// one:
//
//	version  1 byte, 1
//	nonce    12 bytes, random
//	sealed   AES-256-GCM of backend (8 bytes), issued and seen (4 bytes each,
//	         seconds since 1970, big endian), with the version and the scope as
//	         additional data: 16 bytes and a tag of 16
//
// encoded in URL-safe base64 without padding, 60 characters. The key is derived from the secret
// by HKDF with SHA-256. A test pins the format, since instances of other versions must accept
// it. A new format needs a new version byte, and this one must stay readable.
//
// Random nonces are safe for about 2^32 tokens of one secret (NIST SP 800-38D, 8.3). An
// attacker who forges a token after that gains the choice of a backend.
const (
	tokenVersion = 1
	nonceSize    = 12
	plainSize    = 16
	tagSize      = 16
	rawSize      = 1 + nonceSize + plainSize + tagSize
	tokenSize    = (rawSize*8 + 5) / 6
	keyInfo      = "ballast sticky cookie v1"
)

// encoding is strict, so that each token has only one encoding.
var encoding = base64.RawURLEncoding.Strict()

// codec encodes tokens with its first key, and decodes tokens of all its keys. It is safe for
// concurrent use.
type codec struct {
	keys       []cipher.AEAD
	additional []byte
}

// newCodec returns the codec of a scope. It rejects tokens of other scopes.
func newCodec(scope string, secrets ...string) (*codec, error) {
	c := &codec{additional: append([]byte{tokenVersion}, scope...)}
	for _, secret := range secrets {
		key, err := hkdf.Key(sha256.New, []byte(secret), nil, keyInfo, 32)
		if err != nil {
			return nil, fmt.Errorf("deriving the key: %w", err)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, err
		}
		c.keys = append(c.keys, aead)
	}
	return c, nil
}

// encode returns the token of a binding.
func (c *codec) encode(b Binding) string {
	var nonce [nonceSize]byte
	_, _ = rand.Read(nonce[:]) // never fails
	return c.seal(nonce, b)
}

func (c *codec) seal(nonce [nonceSize]byte, b Binding) string {
	raw := make([]byte, 1+nonceSize, rawSize)
	raw[0] = tokenVersion
	copy(raw[1:], nonce[:])
	var plain [plainSize]byte
	binary.BigEndian.PutUint64(plain[:], uint64(b.Backend))
	binary.BigEndian.PutUint32(plain[8:], seconds(b.Issued))
	binary.BigEndian.PutUint32(plain[12:], seconds(b.Seen))
	return encoding.EncodeToString(c.keys[0].Seal(raw, nonce[:], plain[:], c.additional))
}

// seconds converts a time to the 32 bits of a token, until 2106.
func seconds(t int64) uint32 { return uint32(min(max(t, 0), math.MaxUint32)) }

// decode returns the binding of a token, and whether it was encoded with the first key. It
// rejects any other input; the time that this takes reveals nothing of the keys.
func (c *codec) decode(token string) (b Binding, current, ok bool) {
	if len(token) != tokenSize {
		return b, false, false
	}
	var in [tokenSize]byte
	var raw [rawSize]byte
	copy(in[:], token)
	if n, err := encoding.Decode(raw[:], in[:]); err != nil || n != rawSize || raw[0] != tokenVersion {
		return b, false, false
	}
	for i, key := range c.keys {
		plain, err := key.Open(nil, raw[1:1+nonceSize], raw[1+nonceSize:], c.additional)
		if err != nil {
			continue
		}
		b.Backend = ID(binary.BigEndian.Uint64(plain))
		b.Issued = int64(binary.BigEndian.Uint32(plain[8:]))
		b.Seen = int64(binary.BigEndian.Uint32(plain[12:]))
		return b, i == 0, true
	}
	return b, false, false
}
