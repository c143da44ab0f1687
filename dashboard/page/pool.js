// One pool: its totals and its backends.

import { Backends } from "./backends.js";
import { attr, draw, duration, el, number, spark, text } from "./dom.js";

// fails returns the number of failed attempts of a backend.
const fails = b => Object.values(b.errors).reduce((sum, n) => sum + n, 0);

// REASONS are the reasons why no backend takes requests.
const REASONS = {
	no_backends: "the pool is empty (no_backends)",
	all_down: "all backends are down (all_down)",
	all_maintenance: "all backends are draining or in maintenance (all_maintenance)",
	no_weight: "all weights are 0 (no_weight)",
};

let made = 0;

export class PoolView {
	constructor(name, control) {
		this.name = name;
		const id = `pool-${++made}`;
		this.backends = new Backends(name, control);
		this.tiles = {};
		const tile = (key, label, chart, bad) => {
			const value = el("span"), dd = el("dd", {}, value);
			this.tiles[key] = value;
			if (chart) dd.append(this.tiles[chart] = spark(`${label} of ${name}, in the last minutes`, bad));
			return el("div", { class: "tile" }, el("dt", {}, label), dd);
		};
		this.link = el("a", { href: `#${id}` }, el("span", { class: "id" }, name), this.short = el("span"));
		this.section = el("section", { "aria-labelledby": id },
			el("div", { class: "head" }, el("h2", { id, tabindex: "-1" }, name), this.healthy = el("span", { class: "soft" }), this.note = el("span", { class: "note" })),
			el("dl", { class: "tiles" }, tile("rate", "Requests per second", "rates"), tile("errors", "Errors per second", "errorRates", true), tile("inFlight", "In flight", "inFlights"), tile("p95", "p95, slowest backend", "p95s"), this.waiting = tile("waiting", "Waiting", "waitings"), tile("refused", "Refused per second", "refusals", true)),
			this.backends.scroll, this.backends.pager, this.none = el("p", { class: "empty", hidden: true }, "No backend matches the search."));
	}

	// show renders a pool at a time in seconds, with the backends that match, and returns
	// their number.
	show(pool, memory, at, fits) {
		let rate = 0;
		for (const b of pool.backends) {
			const m = memory.count(`requests ${pool.name} ${b.id}`, b.requests, at);
			b.rate = m.rate;
			b.series = m.series;
			const e = memory.count(`errors ${pool.name} ${b.id}`, fails(b), at);
			b.errorRate = e.rate;
			b.errorSeries = e.series;
			rate += b.rate;
		}
		for (const b of pool.backends) b.share = rate ? b.rate / rate : 0;
		const sum = f => pool.backends.reduce((n, b) => n + f(b), 0);
		const requests = memory.count(`requests ${pool.name}`, sum(b => b.requests), at), errors = memory.count(`errors ${pool.name}`, sum(fails), at);
		const refused = memory.count(`refused ${pool.name}`, Object.values(pool.refused).reduce((n, m) => n + m, 0), at);
		text(this.healthy, `${pool.healthy} of ${pool.serving} healthy` + (pool.backends.length > pool.serving ? `, ${pool.backends.length} backends in total` : ""));
		text(this.note, pool.reason ? `No backend takes requests: ${REASONS[pool.reason] ?? pool.reason}` : pool.panic ? "Panic: health is ignored" : "");
		text(this.tiles.rate, number(requests.rate));
		text(this.tiles.errors, number(errors.rate));
		this.gauge("inFlight", sum(b => b.in_flight), number, memory, at);
		this.gauge("p95", pool.backends.reduce((most, b) => Math.max(most, b.latency.p95 ?? 0), 0), s => duration(s || undefined), memory, at);
		this.waiting.hidden = !pool.queue;
		if (pool.queue) this.gauge("waiting", pool.queue.waiting, n => `${n} of ${pool.queue.size}`, memory, at);
		text(this.tiles.refused, number(refused.rate));
		draw(this.tiles.rates, requests.series);
		draw(this.tiles.errorRates, errors.series);
		draw(this.tiles.refusals, refused.series);
		const well = !pool.reason && !pool.panic && pool.healthy === pool.backends.length;
		attr(this.link, "data-well", String(well));
		text(this.short, `${well ? "✓" : "!"} ${pool.healthy} of ${pool.backends.length}`);
		const list = pool.backends.filter(fits);
		this.none.hidden = list.length > 0;
		this.backends.scroll.hidden = list.length === 0;
		this.backends.show(list);
		return list.length;
	}

	gauge(key, value, words, memory, at) {
		text(this.tiles[key], words(value));
		draw(this.tiles[`${key}s`], memory.note(`${key} ${this.name}`, value, at).series);
	}
}
