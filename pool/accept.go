// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package pool

// accept applies the configuration of p to the state that outlives configurations, once p is certain to stay: no
// other configuration uses the pool. Before that, Caddy may reject the configuration and continue with the previous
// one. It may be called repeatedly.
func (p *Pool) accept() {
	p.overlay.adopt(p)
	p.adoptPlans()
	p.mu.Lock()
	members, running := p.members(), p.running
	if running {
		p.overlay.pruneRemoved(p)
	}
	p.mu.Unlock()
	if p.Options().Outliers != nil {
		return
	}
	returned := false
	for _, m := range members {
		returned = m.Uneject() || returned // no control loop would end the ejections of an earlier configuration
	}
	if returned {
		p.Publish()
	}
}

// accepted reports whether the configuration of p is certain to stay, since no other has the pool.
func (p *Pool) accepted() bool {
	users := p.overlay.Users()
	return len(users) == 1 && users[0] == p
}
