// Copyright 2026 The Ballast Authors
// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"maps"
	"reflect"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ballast-lb/caddy-ballast/internal/panics"
)

// Publisher publishes the records of a topic. Safe for concurrent use. The methods of a nil
// *Publisher do nothing.
type Publisher struct {
	fleet *Fleet
	name  string
	topic Topic

	others atomic.Bool // this instance has other topics with the same name
}

// Join adds a topic. All topics of a name get the same records, also those that another topic of this instance
// publishes. Existing records are delivered to the topic soon after.
func (f *Fleet) Join(name string, t Topic) *Publisher {
	if f == nil {
		return nil
	}
	p := &Publisher{fleet: f, name: name, topic: t}
	f.mu.Lock()
	if f.topics == nil {
		f.topics = make(map[string][]*Publisher)
	}
	all := append(slices.Clip(f.topics[name]), p)
	f.topics[name] = all
	for _, p := range all {
		p.others.Store(len(all) > 1)
	}
	r := f.run
	f.mu.Unlock()
	if r == nil {
		return p // the first resync delivers the records
	}
	if len(all) > 1 {
		r.copyLater(name)
	} else {
		f.resyncs.want(byJoin)
	}
	r.interrupt()
	return p
}

// Publish pushes a record soon. It never blocks. Of several records of one key, only the latest is pushed. If
// too many records are pending, or the store does not work, records are dropped, and a later resync finds
// them in the topic. A record that is not [Record.Valid] is ignored and counted.
func (p *Publisher) Publish(key string, version uint64, value []byte, ttl time.Duration) {
	if p == nil {
		return
	}
	f := p.fleet
	r := Record{Topic: p.name, Key: key, Version: version, Value: value, TTL: ttl}
	if !r.Valid() {
		f.invalid.Add(1)
		return
	}
	f.observe(version)
	first, overflow := f.pending.Add(&r)
	run := (*run)(nil)
	if first || overflow || p.others.Load() {
		run = f.current()
	}
	if overflow {
		f.resyncs.want(byOverflow)
	}
	if run == nil {
		return
	}
	if p.others.Load() {
		run.copyLater(p.name)
	}
	if overflow {
		run.interrupt()
	}
	run.wakeUp()
}

// Leave removes the topic from the fleet. Its pending changes are still pushed.
func (p *Publisher) Leave() {
	if p == nil {
		return
	}
	f := p.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	all := slices.DeleteFunc(slices.Clone(f.topics[p.name]), func(other *Publisher) bool { return other == p })
	for _, other := range all {
		other.others.Store(len(all) > 1)
	}
	if f.topics[p.name] = all; len(all) == 0 {
		delete(f.topics, p.name)
	}
}

// publishers returns the publishers of all topics of a name. Read-only.
func (f *Fleet) publishers(topic string) []*Publisher {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.topics[topic]
}

// allRecords yields the valid records of all topics until yield returns false.
func (f *Fleet) allRecords(yield func(Record) bool) {
	f.mu.Lock()
	all := slices.Concat(slices.Collect(maps.Values(f.topics))...)
	f.mu.Unlock()
	more := true
	for _, p := range all {
		if !more {
			return
		}
		p.all(func(r Record) bool {
			more = yield(r)
			return more
		})
	}
}

// apply delivers records to the topic.
func (p *Publisher) apply(records []Record) {
	defer panics.Recover("applying records of a fleet")
	p.topic.Apply(records)
}

// all yields the valid records of the topic until yield returns false.
func (p *Publisher) all(yield func(Record) bool) {
	defer panics.Recover("reading the records of a topic")
	p.topic.All(func(r Record) bool {
		r.Topic = p.name
		return !r.Valid() || yield(r)
	})
}

// deliver delivers records to their topics. It ignores invalid records.
func (f *Fleet) deliver(records []Record) {
	invalid := func(r Record) bool { return !r.Valid() }
	if slices.ContainsFunc(records, invalid) {
		records = slices.DeleteFunc(slices.Clone(records), invalid)
	}
	for len(records) > 0 {
		topic, n := records[0].Topic, 1
		for n < len(records) && records[n].Topic == topic {
			n++
		}
		for i := range records[:n] {
			f.observe(records[i].Version)
		}
		for _, p := range f.publishers(topic) {
			p.apply(records[:n:n])
		}
		records = records[n:]
	}
}

// copyPage is the maximum number of records that copyTopics delivers to a topic at a time.
const copyPage = 1000

// copyTopics delivers to each topic of a name the records of the others.
func (f *Fleet) copyTopics(name string) {
	all := f.publishers(name)
	for _, from := range all {
		var to []*Publisher
		for _, p := range all {
			if !p.sameTopic(from) {
				to = append(to, p)
			}
		}
		if len(to) == 0 {
			continue
		}
		var records []Record
		from.all(func(r Record) bool {
			records = append(records, r)
			return true
		})
		for page := range slices.Chunk(records, copyPage) {
			for _, p := range to {
				p.apply(page)
			}
		}
	}
}

// sameTopic reports whether two publishers have the same topic, as those of two configurations may.
func (p *Publisher) sameTopic(other *Publisher) bool {
	return p == other || reflect.ValueOf(p.topic).Comparable() && reflect.ValueOf(other.topic).Comparable() && p.topic == other.topic
}
