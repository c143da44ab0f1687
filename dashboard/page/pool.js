// One pool: its totals with their charts, its backends, and its events.

import { Chart } from "./chart.js";
import { attr, button, el, hide, text } from "./dom.js";
import { EventList } from "./events.js";
import { Table } from "./table.js";
import { duration, fails, number, percent, plural, problem, reasonWord, stateSentence } from "./words.js";

// TILES are the figures of a pool: key, label, what its values are in words, and kind.
const TILES = [
	["requests", "Requests/s", number, ""], ["errors", "Errors/s", number, "bad"], ["refused", "Refused/s (503)", number, "bad"],
	["in_flight", "In flight", number, ""], ["p95", "p95, slowest backend", s => duration(s), ""], ["waiting", "Waiting", number, ""],
];

let made = 0;

export class PoolView {
	// does has the actions of the page; see Table. actions is null on a page without controls.
	constructor(name, does, actions) {
		this.name = name;
		this.actions = actions;
		const id = `pool-${++made}`;
		this.table = new Table(name, does);
		this.table.onselect = () => this.showSelection();
		this.tiles = {};
		const tiles = el("dl", { class: "tiles" });
		for (const [key, label, words, kind] of TILES) {
			const value = el("span", { class: "value" }), fleet = el("span", { class: "soft" }), chart = new Chart(`${label} of ${name}`, words, kind);
			const box = el("div", { class: "tile" }, el("dt", {}, label), el("dd", {}, value, fleet, chart.box));
			this.tiles[key] = { box, value, fleet, chart, words };
			tiles.append(box);
		}
		this.link = el("a", { href: `#${id}` }, el("span", { class: "id" }, name), this.short = el("span"));
		this.about = el("span", { class: "soft" });
		this.states = el("span", { class: "states" });
		this.trouble = el("p", { class: "trouble", role: "status", hidden: true });
		const head = el("div", { class: "head" }, el("h2", { id, tabindex: "-1" }, name), this.states, this.about);
		this.groups = el("div", { class: "groups", hidden: true });
		if (actions) {
			head.append(button("Add backend", () => actions.add(name), { class: "add" }));
			this.bulk = el("div", { class: "bulk", role: "group", "aria-label": `Selected backends of ${name}`, hidden: true }, this.chosen = el("span", { role: "status" }),
				...[["Drain", "drain"], ["Maintenance", "maint"], ["Ready", "ready"]].map(([label, state]) => button(label, () => this.setSelected(state))),
				button("Clear", () => { this.table.selected.clear(); this.table.show(this.table.all); this.showSelection(); }));
		}
		const list = el("ol", { class: "events" });
		this.events = new EventList(list, "No events since Caddy was started.");
		this.none = el("p", { class: "empty", hidden: true }, "No backend matches the search.");
		this.section = el("section", { class: "pool", "aria-labelledby": id }, head, this.trouble, this.groups, tiles, ...(actions ? [this.bulk] : []), this.table.pager, this.table.scroll, this.none,
			el("h3", {}, "Events"), list, this.events.more);
	}

	async setSelected(state) {
		const some = this.pool.backends.filter(b => this.table.selected.has(b.id));
		await this.actions.setState(this.name, some, state);
	}

	showSelection() {
		if (!this.bulk) return;
		for (const id of this.table.selected) if (!this.pool.backends.some(b => b.id === id)) this.table.selected.delete(id);
		hide(this.bulk, this.table.selected.size === 0);
		text(this.chosen, `${plural(this.table.selected.size, "backend")} selected`);
	}

	// measure adds rates and shares to the report of a pool, at a time in seconds.
	static measure(pool, rates, at) {
		pool.rate = pool.errorRate = 0;
		for (const b of pool.backends) {
			b.rate = rates.of(`requests ${pool.name} ${b.id}`, b.requests, at);
			b.errorRate = rates.of(`errors ${pool.name} ${b.id}`, fails(b), at);
			pool.rate += b.rate;
			pool.errorRate += b.errorRate;
		}
		for (const b of pool.backends) b.share = pool.rate ? b.rate / pool.rate : 0;
		pool.refusedRate = 0;
		pool.refusedFor = [];
		for (const [reason, n] of Object.entries(pool.refused)) {
			const rate = rates.of(`refused ${pool.name} ${reason}`, n, at);
			pool.refusedRate += rate;
			if (rate > 0) pool.refusedFor.push(reasonWord(reason));
		}
	}

	// show renders a measured pool, with the backends that match, and returns their number. fleet has
	// the totals of all instances, if there are others.
	show(pool, fits, fleet) {
		this.pool = pool;
		const sum = f => pool.backends.reduce((n, b) => n + f(b), 0);
		text(this.states, stateSentence(pool.states));
		text(this.about, [pool.policies?.join(", "), plural(pool.backends.length, "backend")].filter(Boolean).join(" · "));
		const main = pool.groups?.[0], unserved = main && !main.serving && main.share > 0;
		const trouble = pool.reason ? `No backend takes requests: ${reasonWord(pool.reason)}.${pool.refusedRate ? ` ${number(pool.refusedRate)} requests per second get 503.` : ""}`
			: unserved ? `No backend of the main group takes requests: ${reasonWord(main.reason)}.`
			: pool.panic ? "Panic: too few backends are healthy, so health is ignored."
			: pool.refusedRate ? `${number(pool.refusedRate)} requests per second get 503: ${pool.refusedFor.join(", ")}.` : "";
		hide(this.trouble, !trouble);
		text(this.trouble, trouble);
		const values = { requests: pool.rate, errors: pool.errorRate, refused: pool.refusedRate, in_flight: sum(b => b.in_flight), p95: pool.backends.reduce((most, b) => Math.max(most, b.latency.p95 ?? 0), 0) || undefined, waiting: pool.queue?.waiting };
		for (const [key, t] of Object.entries(this.tiles)) {
			text(t.value, key === "waiting" && pool.queue ? `${pool.queue.waiting} of ${pool.queue.size}` : t.words(values[key]));
			text(t.fleet, fleet?.[key] !== undefined ? ` fleet ${t.words(fleet[key])}` : "");
			attr(t.value, "data-bad", t.chart.svg.classList.contains("bad") && values[key] > 0 ? "" : undefined);
		}
		hide(this.tiles.waiting.box, !pool.queue);
		const troubled = Boolean(pool.reason) || unserved || pool.backends.some(b => problem(b));
		attr(this.link, "data-well", String(!troubled));
		text(this.short, `${troubled ? "!" : "✓"} ${stateSentence(pool.states)}`);
		this.showGroups(pool.groups ?? []);
		const list = pool.backends.filter(fits);
		hide(this.none, list.length > 0 || !pool.backends.length);
		hide(this.table.scroll, list.length === 0);
		this.table.show(list);
		this.showSelection();
		return list.length;
	}

	// draw draws the charts of steps values.
	draw(histories, steps) {
		const drawn = `${histories.version} ${steps}`;
		if (this.drawn !== drawn) for (const [key, t] of Object.entries(this.tiles)) if (!t.box.hidden) t.chart.show(histories.of(this.name, key, steps), histories.step, histories.at);
		this.drawn = drawn;
		this.table.draw(histories, steps);
	}

	// showGroups shows the groups, the main one first, with what an operator may do about the rollout of
	// each.
	showGroups(groups) {
		hide(this.groups, groups.length === 0);
		while (this.groups.children.length > groups.length) this.groups.lastChild.remove();
		groups.forEach((g, i) => {
			let line = this.groups.children[i];
			if (!line) this.groups.append(line = el("div", { class: "group" }, el("span", { class: "id" }), el("span"), el("span", { class: "about soft" }), el("span", { class: "buttons" })));
			const [name, share, about, buttons] = line.children, r = g.rollout;
			text(name, g.name);
			text(share, `${percent(g.share)} of the requests${g.serving ? "" : ", but none of its backends serves"}`);
			text(about, !r ? plural(g.backends, "backend") : [plural(g.backends, "backend"), r.shares.length > 1 ? `${r.state}, step ${r.step + 1} of ${r.shares.length}` : r.state, r.next === null || r.next === undefined ? "" : `next in ${duration(r.next)}`,
				r.group.requests ? `errors ${percent(r.group.errors / r.group.requests)}, main ${percent(r.main.requests ? r.main.errors / r.main.requests : 0)}` : "", r.reason ?? ""].filter(Boolean).join(", "));
			const can = this.actions && r ? r.actions : [];
			if (buttons.dataset.can === can.join()) return;
			buttons.dataset.can = can.join();
			buttons.replaceChildren(...can.map(action => button(action[0].toUpperCase() + action.slice(1), () => this.actions.rollout(this.name, g.name, action, r.state), { "aria-label": `${action[0].toUpperCase() + action.slice(1)} the rollout of ${g.name}`, class: action === "abort" ? "danger" : undefined })));
		});
	}
}

