// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package redisstore

import (
	_ "embed" // the scripts

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed lua/common.lua
	commonLua string
	//go:embed lua/push.lua
	pushLua string
	//go:embed lua/beat.lua
	beatLua string
	//go:embed lua/leave.lua
	leaveLua string
	//go:embed lua/page.lua
	pageLua string
)

// The scripts run on Redis, each atomically. They are called by hash (EVALSHA), and sent in full if Redis
// does not have them.
var (
	pushScript  = redis.NewScript(commonLua + pushLua)
	beatScript  = redis.NewScript(commonLua + beatLua)
	leaveScript = redis.NewScript(commonLua + leaveLua)
	pageScript  = redis.NewScript(commonLua + pageLua)
)

// schema is part of the names of all keys. It changes when the format of their content changes.
const schema = "1"

// keys are the names of the keys of a fleet, in the order of the scripts.
type keys []string

// changesKey is the index of the stream.
const changesKey = 1

// keysOf returns the names for a prefix. The prefix is their hash tag, so that a cluster keeps all of them in
// one slot.
func keysOf(prefix string) keys {
	names := keys{"records", "changes", "instances", "acknowledged", "descriptions"}
	for i, name := range names {
		names[i] = "{" + prefix + "}:" + schema + ":" + name
	}
	return names
}
