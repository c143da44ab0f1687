// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package selection

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/ballast-lb/caddy-ballast/internal/caddyfileutil"
	"github.com/ballast-lb/caddy-ballast/internal/connections"
	"github.com/ballast-lb/caddy-ballast/internal/httpx"
	"github.com/ballast-lb/caddy-ballast/internal/pool"
)

// Hashing is the common part of the policies that pick by the hash of a key of the request. The
// backend of a key depends only on the ids and weights of the backends: it is the same on every
// instance and after every restart, and does not depend on the order of the backends. If that
// backend is down or was tried, the key's next choice is always the same, too.
type Hashing struct {
	// Key is the part of the request that is hashed: client_ip, uri, path, host, header, query,
	// cookie, or a text with placeholders. Required. A host is used without its port and in
	// lower case, an IP address without its port. If a header field or query parameter occurs
	// several times, all values count.
	Key string `json:"key"`
	// KeyName is the name of the header field, query parameter or cookie. Required with those
	// keys, and invalid with others.
	KeyName string `json:"key_name,omitempty"`

	// FallbackRaw is the policy for requests without a key, or with an empty one. A text with
	// placeholders is empty if all placeholders are. The policy must be one of Ballast's, without
	// weights. Default: wrr.
	FallbackRaw json.RawMessage `json:"fallback,omitempty" caddy:"namespace=http.reverse_proxy.selection_policies inline_key=policy"`

	// BoundedLoad limits the requests in flight to each backend to this multiple of its share,
	// by weight, of all requests in flight, rounded up. Requests above the limit go to other
	// backends (Mirrokni et al. 2016). Above 1, at most 100; 1.2 to 2 is sensible, and 1.25 is
	// usual. A lower factor is more even, and moves more keys under high load. Default: no
	// limit.
	BoundedLoad float64 `json:"bounded_load,omitempty"`
	// OnFull is what happens to a request whose backend is at its limit: spill (another backend
	// serves it, which the key also decides) or wait (in the pool's queue, for that backend; if
	// the queue has no room, it spills). Default: spill.
	OnFull string `json:"on_full,omitempty"`
	// OnFullPosition is the file and line of `on_full` in the Caddyfile, for errors. The
	// Caddyfile adapter sets it.
	OnFullPosition caddyfileutil.Position `json:"on_full_position,omitempty"`
	// FallbackPosition is the file and line of `fallback` in the Caddyfile, for errors. The
	// Caddyfile adapter sets it.
	FallbackPosition caddyfileutil.Position `json:"fallback_position,omitempty"`

	Adapter

	key      httpx.RequestKey
	fallback algorithm
	tables   tableCache
}

// loadFactors bounds bounded_load.
var loadFactors = caddyfileutil.Floats{Min: 1, Max: 100, Above: true, Such: 1.25}

// provision prepares the common part, and then the adapter.
func (h *Hashing) provision(ctx caddy.Context, name string, alg algorithm) (err error) {
	if h.key, err = httpx.NewRequestKey(h.Key, h.KeyName); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if h.BoundedLoad != 0 {
		if err := loadFactors.Check("bounded_load", h.BoundedLoad); err != nil {
			return err
		}
	}
	if h.OnFull == "" {
		h.OnFull = onSpill
	}
	if err := onFullWords.Check("on_full", h.OnFull); err != nil {
		return err
	}
	h.waits = h.OnFull == onWait
	h.fallback = new(WRR)
	if h.FallbackRaw != nil {
		if h.fallback, err = h.loadFallback(ctx); err != nil {
			return h.FallbackPosition.Wrap(err)
		}
	}
	// After the fallback, which has registered its own list with the proxy: only the list
	// registered last is kept up to date.
	if err := h.Adapter.provision(ctx, name, alg); err != nil {
		return err
	}
	if proxy := h.list.proxy; h.waits && proxy != nil && proxy.FixedUpstreams() > 0 {
		return h.OnFullPosition.Wrap(errors.New("on_full wait needs the queue of a pool; write `dynamic pool { ... }`, or on_full spill"))
	}
	return nil
}

// UsePool implements [proxyhook.PoolUser].
func (h *Hashing) UsePool(pool *pool.Pool) error {
	if h.waits && pool.Options().Queue.Size == 0 {
		return h.OnFullPosition.Wrap(errors.New("on_full wait needs a queue; write `queue <size>` in the pool, or on_full spill"))
	}
	return h.Adapter.UsePool(pool)
}

// CheckConnections implements [connections.ConnectionPolicy].
func (h *Hashing) CheckConnections() error {
	if err := h.key.CheckConnections(); err != nil {
		return err
	}
	if fallback, ok := h.fallback.(connections.ConnectionPolicy); ok {
		return h.FallbackPosition.Wrap(fallback.CheckConnections())
	}
	return nil
}

func (h *Hashing) loadFallback(ctx caddy.Context) (algorithm, error) {
	mod, err := ctx.LoadModule(h, "FallbackRaw")
	if err != nil {
		return nil, fmt.Errorf("loading fallback policy: %w", err)
	}
	alg, ok := mod.(fallbackCapable)
	if !ok {
		id := mod.(caddy.Module).CaddyModule().ID
		return nil, fmt.Errorf("%s cannot be the fallback; write one of: %s", id.Name(), strings.Join(fallbackNames(true), ", "))
	}
	if alg, ok := alg.(waitingAlgorithm); ok {
		if err := alg.checkNoWait(); err != nil {
			return nil, err
		}
	}
	return alg, alg.checkNoWeights()
}

// fallbackCapable is a policy that may be the fallback of another policy.
type fallbackCapable interface {
	algorithm
	checkNoWeights() error
}

// waitingAlgorithm is a policy with on_full wait, which a fallback must not have.
type waitingAlgorithm interface{ checkNoWait() error }

// checkNoWait returns an error if the policy has on_full wait.
func (h *Hashing) checkNoWait() error {
	if !h.waits {
		return nil
	}
	return h.OnFullPosition.Wrap(errors.New("on_full in the fallback has no effect; write it in the policy that it belongs to"))
}

// checkNoWeights returns an error if the policy has weights, which a fallback must not have.
func (a *Adapter) checkNoWeights() error {
	if len(a.Weights) == 0 {
		return nil
	}
	return a.Position.Wrap(errors.New("weights in the fallback have no effect; write them in the policy that it belongs to"))
}

// fallbackNames returns the names of the policies that may be fallbacks, or of those that may
// not.
func fallbackNames(may bool) (names []string) {
	for _, info := range caddy.GetModules(strings.TrimSuffix(namespace, ".")) {
		if _, ok := info.New().(fallbackCapable); ok == may {
			names = append(names, info.ID.Name())
		}
	}
	return names
}

// members returns the members of the hash table of a group.
func (g *group) members() []member {
	ids := make([]string, len(g.backends))
	for i, b := range g.backends {
		ids[i] = b.ID
	}
	return members(ids, g.weights)
}

// picker returns the picker of a group. build makes the table of its members.
func (h *Hashing) picker(g group, build func(all []member) hashTable) picker {
	all := g.members()
	t := h.tables.get(all, func() hashTable { return build(all) })
	p := &hashPicker{hashTable: t, hash: h.key.Hash, factor: h.BoundedLoad, fallback: h.fallback.prepare(g)}
	p.sum, _ = totals(all)
	p.order = make([]int32, len(all))
	for i, m := range all {
		p.order[i] = m.index
	}
	return p
}

// drawFor implements [keyedAlgorithm].
func (h *Hashing) drawFor(r *http.Request) (draw float64, ok bool) {
	hash, ok := h.key.Hash(r)
	return float64(mix(^hash)>>11) / (1 << 53), ok
}

// unmarshal parses the key and the block of a policy.
func (h *Hashing) unmarshal(d *caddyfile.Dispenser, opts caddyfileutil.Options) error {
	position := *d
	position.Next()
	caddyfileutil.Head(d, &h.Key)
	if httpx.KeyTakesName(h.Key) && d.NextArg() {
		h.KeyName = d.Val()
	}
	if _, err := httpx.NewRequestKey(h.Key, h.KeyName); err != nil {
		return d.WrapErr(fmt.Errorf("%s: %w", position.Val(), err))
	}
	if opts == nil {
		opts = caddyfileutil.Options{}
	}
	opts.Hint(map[string]string{
		"hash_balance_factor": "write `bounded_load <factor>`, such as 1.5 for 150", "consistent": "it always is; write nothing",
		"hash_type": "it is always consistent; write nothing", "hash_preserve_affinity": "write `on_full spill|wait`",
	})
	opts["bounded_load"] = loadFactors.Option(&h.BoundedLoad)
	onFull := onFullWords.Option(&h.OnFull)
	opts["on_full"] = func(d *caddyfile.Dispenser) error {
		h.OnFullPosition = caddyfileutil.PositionOf(d)
		return onFull(d)
	}
	opts["fallback"] = func(d *caddyfile.Dispenser) (err error) {
		h.FallbackPosition = caddyfileutil.PositionOf(d)
		h.FallbackRaw, err = caddyfileutil.Module(d, strings.TrimSuffix(namespace, "."), "policy", "fallback policy", fallbackNames(false)...)
		return err
	}
	return h.Adapter.unmarshal(d, opts)
}
