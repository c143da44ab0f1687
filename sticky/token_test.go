// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package sticky

import (
	"encoding/hex"
	"strings"
	"testing"
	"time"
)

func testCodec(t testing.TB, scope string, secrets ...string) *codec {
	t.Helper()
	c, err := newCodec(scope, secrets...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var aBinding = Binding{Backend: IDOf("backend-a"), Issued: 1_800_000_000, Seen: 1_800_000_123}

// The format is a promise between instances of different versions. A change that
// fails this test needs another version number, and has to read this one still.
func TestTokenFormatIsPinned(t *testing.T) {
	if got := uint64(IDOf("backend-a")); got != 0xe39252d7fdf19f82 {
		t.Errorf("the id of backend-a is %#x", got)
	}
	var nonce [nonceSize]byte
	copy(nonce[:], "nonce-nonce-")
	c := testCodec(t, "web", "correct horse battery staple")
	const want = "AW5vbmNlLW5vbmNlLQe6MAj-VaOwV7cUBVedEgfkhz1DIz5QsLKS9U0_IqCv"
	if got := c.seal(nonce, aBinding); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if b, current, ok := c.decode(want); !ok || !current || b != aBinding {
		t.Errorf("decoded %+v, %v, %v", b, current, ok)
	}
}

func TestTokenSurvives(t *testing.T) {
	c := testCodec(t, "web", "secret")
	seen := make(map[string]bool)
	for range 100 {
		token := c.encode(aBinding)
		if len(token) != 60 {
			t.Fatalf("%s has %d characters", token, len(token))
		}
		if strings.Trim(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			t.Fatalf("%s has characters that need quotes in a cookie or a URL", token)
		}
		if seen[token] {
			t.Fatal("two tokens are the same, so that who sees them knows that the backends are")
		}
		seen[token] = true
		if b, current, ok := c.decode(token); !ok || !current || b != aBinding {
			t.Fatalf("decoded %+v, %v, %v", b, current, ok)
		}
	}
}

// Tokens that were changed anywhere, cut, or made longer are none, nor are those of
// another pool or secret.
func TestTokenCannotBeForged(t *testing.T) {
	c := testCodec(t, "web", "secret")
	token := c.encode(aBinding)
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for i := range token {
		for _, l := range letters {
			if forged := token[:i] + string(l) + token[i+1:]; forged != token {
				if _, _, ok := c.decode(forged); ok {
					t.Fatalf("accepted with character %d changed to %c", i, l)
				}
			}
		}
	}
	for _, bad := range []string{"", "x", token[1:], token[:59], token + "A", token + "=", token + token, strings.Repeat("A", 60), strings.Repeat("A", 1<<20), strings.Repeat("\x00", 60), token[:30] + "\n" + token[30:]} {
		if _, _, ok := c.decode(bad); ok {
			t.Errorf("accepted %.80q", bad)
		}
	}
	for name, other := range map[string]*codec{
		"pool": testCodec(t, "web2", "secret"), "secret": testCodec(t, "web", "secret2"), "nothing": testCodec(t, "", "secret"),
	} {
		if _, _, ok := other.decode(token); ok {
			t.Errorf("accepted with another %s", name)
		}
	}
}

// No byte of a token depends on the backend alone.
func TestTokenIsOpaque(t *testing.T) {
	c := testCodec(t, "web", "secret")
	token := c.encode(Binding{Backend: 0x4141414141414141, Issued: 0x42424242, Seen: 0x43434343})
	raw, err := encoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"AAAA", "BBBB", "CCCC", hex.EncodeToString([]byte("AAAA"))} {
		if strings.Contains(string(raw), part) || strings.Contains(token, part) {
			t.Errorf("%q can be read", part)
		}
	}
}

// A new secret is brought in without losing sessions: first as one that is accepted,
// everywhere, then as the one that is written.
func TestSecretsRotate(t *testing.T) {
	before, between, after := testCodec(t, "web", "old"), testCodec(t, "web", "old", "new"), testCodec(t, "web", "new", "old")
	done := testCodec(t, "web", "new")
	for _, step := range []struct {
		name         string
		from, to     *codec
		current, has bool
	}{
		{"old at between", before, between, true, true},
		{"between at old", between, before, true, true},
		{"between at after", between, after, false, true},
		{"after at between", after, between, false, true},
		{"after at done", after, done, true, true},
		{"old at after", before, after, false, true},
		{"old at done", before, done, false, false},
	} {
		b, current, ok := step.to.decode(step.from.encode(aBinding))
		if ok != step.has || current != step.current || ok && b != aBinding {
			t.Errorf("%s: %+v, %v, %v", step.name, b, current, ok)
		}
	}
}

func TestLifetimes(t *testing.T) {
	l := Lifetimes{Idle: 100 * time.Second, Absolute: 1000 * time.Second}
	const now = 10_000
	for _, c := range []struct {
		name           string
		issued, seen   int64
		alive, refresh bool
	}{
		{"new", now, now, true, false},
		{"used", now - 50, now - 9, true, false},
		{"used a tenth of the lifetime ago", now - 50, now - 10, true, true},
		{"idle for its lifetime", now - 500, now - 100, true, true},
		{"idle for its lifetime, though noted earlier", now - 500, now - 109, true, true},
		{"idle for longer", now - 500, now - 110, false, false},
		{"as old as it may be", now - 1000, now - 1, true, false},
		{"older", now - 1001, now - 1, false, false},
		{"seen by a clock that is ahead", now - 5, now + 60, true, false},
		{"seen by one that is wrong", now - 5, now + 61, false, false},
		{"begun by a clock that is ahead", now + 60, now + 60, true, false},
		{"begun by one that is wrong", now + 61, now, false, false},
	} {
		alive, refresh := l.Alive(Binding{Issued: c.issued, Seen: c.seen}, now)
		if alive != c.alive || refresh != c.refresh {
			t.Errorf("%s: alive %v, refresh %v", c.name, alive, refresh)
		}
	}
	short := Lifetimes{Idle: time.Second}
	if alive, refresh := short.Alive(Binding{Issued: 1, Seen: now - 1}, now); !alive || !refresh {
		t.Errorf("with a second: alive %v, refresh %v", alive, refresh)
	}
}

func FuzzToken(f *testing.F) {
	c := testCodec(f, "web", "secret", "former")
	f.Add(c.encode(aBinding))
	f.Add(testCodec(f, "web", "former").encode(Binding{}))
	f.Add("")
	f.Add(strings.Repeat("A", tokenSize))
	f.Fuzz(func(t *testing.T, token string) {
		b, _, ok := c.decode(token)
		if !ok {
			if b != (Binding{}) {
				t.Errorf("%q is no token, but gives %+v", token, b)
			}
			return
		}
		raw, err := encoding.DecodeString(token)
		if err != nil {
			t.Fatal(err)
		}
		// It can only be one of ours, written in the one way that there is.
		for i := range c.keys {
			one := &codec{keys: c.keys[i : i+1], additional: c.additional}
			if one.seal([nonceSize]byte(raw[1:1+nonceSize]), b) == token {
				return
			}
		}
		t.Errorf("%q is accepted as %+v", token, b)
	})
}

func BenchmarkToken(b *testing.B) {
	c := testCodec(b, "web", "secret")
	token := c.encode(aBinding)
	b.Run("encode", func(b *testing.B) {
		for b.Loop() {
			c.encode(aBinding)
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.decode(token)
		}
	})
}
