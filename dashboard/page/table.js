// The table of a pool's backends, grouped by tier. Only the backends of the shown page have rows, and a
// cell is written only if its content changes.

import { drawSpark, spark } from "./chart.js";
import { attr, button, el, hide, place, text } from "./dom.js";
import * as address from "./location.js";
import { duration, note, number, percent, STATES, stateSentence, stateWord } from "./words.js";

const PAGE = 50;
const HOVERS = matchMedia("(hover: hover)"); // false for touch

// COLUMNS are the columns: key, title, what it is sorted by, and classes. A column that has nothing for
// all backends is hidden.
const COLUMNS = [
	["id", "Backend", b => b.id, "name"],
	["state", "State", b => Object.keys(STATES).indexOf(b.state), "condition"],
	["share", "Share", b => -b.share, "n"],
	["rate", "Requests/s", b => -b.rate, "n"],
	["chart", "Requests, errors", null, "chart-cell"],
	["errors", "Errors/s", b => -b.errorRate, "n"],
	["flight", "In flight", b => -b.in_flight, "n"],
	["p50", "p50", b => -(b.latency.p50 ?? 0), "n"],
	["p95", "p95", b => -(b.latency.p95 ?? 0), "n"],
	["p99", "p99", b => -(b.latency.p99 ?? 0), "n"],
	["sessions", "Sessions", b => -(b.sessions ?? -1), "n"],
	["weight", "Weight", b => -b.effective_weight, "n"],
];

const USED = { p50: b => b.latency.p50, p95: b => b.latency.p95, p99: b => b.latency.p99, sessions: b => b.sessions };

export const tierName = b => b.backup ? "Backups" : `Tier ${b.tier}`;
const tierOrder = b => b.backup ? Infinity : b.tier;

export class Table {
	page = 0;
	rows = new Map();
	tiers = new Map();
	all = [];
	selected = new Set();

	// does has the actions: open(pool, b), and, on a page with controls, menu(pool, b, button).
	constructor(pool, does) {
		this.pool = pool;
		this.does = does;
		this.control = Boolean(does.menu);
		this.body = el("tbody");
		const heads = el("tr");
		if (this.control) {
			this.selectAll = el("input", { type: "checkbox", "aria-label": `Select all shown backends of ${pool}` });
			this.selectAll.onchange = () => {
				for (const b of this.all) if (this.selectAll.checked) this.selected.add(b.id); else this.selected.delete(b.id);
				this.show(this.all);
				this.onselect?.();
			};
			heads.append(el("th", { scope: "col", class: "select" }, this.selectAll));
		}
		this.headers = COLUMNS.map(([key, title, by, kind]) => {
			const th = el("th", { scope: "col", class: `c-${key} ${kind}` });
			if (by) th.append(button(title, () => this.sortBy(key)));
			else th.append(el("span", {}, title));
			heads.append(th);
			return th;
		});
		if (this.control) heads.append(el("th", { scope: "col", class: "act" }, el("span", { class: "hidden" }, "Actions")));
		this.table = el("table", { class: "rows", "aria-label": `Backends of ${pool}` }, el("thead", {}, heads), this.body);
		this.scroll = el("div", { class: "scroll" }, this.table);
		new ResizeObserver(() => this.span()).observe(this.scroll);
		this.before = button("Previous", () => this.turn(-1));
		this.after = button("Next", () => this.turn(1));
		this.where = el("span", { role: "status" });
		this.pager = el("div", { class: "pager" }, this.before, this.after, this.where);
	}

	sortBy(key) {
		const [now, reverse] = this.sorting();
		address.set("sort", now !== key ? key : reverse ? "" : `-${key}`);
		this.does.sorted();
	}

	// sorting returns the key and whether the order is reversed.
	sorting() {
		const s = address.get("sort");
		return s.startsWith("-") ? [s.slice(1), true] : [s, false];
	}

	turn(by) {
		this.page += by;
		this.show(this.all);
	}

	// show renders backends, with the rates that were added to them.
	show(all) {
		this.all = all;
		const [key, reverse] = this.sorting(), column = COLUMNS.find(c => c[0] === key), by = column?.[2];
		const sorted = by ? `${key} ${reverse}` : "";
		const order = new Map(all.map((b, i) => [b.id, i]));
		let list = [...all];
		const tiers = new Set(all.map(tierName)), grouped = tiers.size > 1;
		const own = (a, b) => {
			if (!by) return order.get(a.id) - order.get(b.id);
			const x = by(a), y = by(b);
			return (reverse ? -1 : 1) * (x < y ? -1 : x > y ? 1 : 0) || order.get(a.id) - order.get(b.id);
		};
		if (by && sorted === this.sorted && this.held()) list.sort((a, b) => (this.order.get(a.id) ?? Infinity) - (this.order.get(b.id) ?? Infinity) || 0);
		else if (by || grouped) list.sort((a, b) => grouped && tierOrder(a) - tierOrder(b) || own(a, b));
		this.sorted = sorted;
		this.order = new Map(list.map((b, i) => [b.id, i]));
		this.headers.forEach((h, i) => attr(h, "aria-sort", COLUMNS[i][0] !== key || !by ? undefined : reverse !== (i > 1 && i < COLUMNS.length) ? "descending" : "ascending"));
		for (const [c, used] of Object.entries(USED)) attr(this.table, `data-no-${c}`, all.some(b => used(b) !== undefined && used(b) !== null) ? undefined : "");
		const pages = Math.max(1, Math.ceil(list.length / PAGE));
		this.page = Math.min(Math.max(this.page, 0), pages - 1);
		const from = this.page * PAGE, shown = list.slice(from, from + PAGE);
		this.shown = shown.map(b => b.id);
		hide(this.pager, pages === 1);
		text(this.where, `${from + 1} to ${from + shown.length} of ${list.length}`);
		this.before.disabled = this.page === 0;
		this.after.disabled = this.page === pages - 1;
		if (this.selectAll) {
			const n = all.filter(b => this.selected.has(b.id)).length;
			this.selectAll.checked = n > 0 && n === all.length;
			this.selectAll.indeterminate = n > 0 && n < all.length;
		}
		const keep = new Set(this.shown);
		for (const [id, row] of this.rows) if (!keep.has(id)) { row.tr.remove(); this.rows.delete(id); }
		let i = 0, tier = "";
		const heads = new Set();
		for (const b of shown) {
			if (grouped && tierName(b) !== tier) {
				tier = tierName(b);
				heads.add(tier);
				place(this.body, this.tierRow(tier, all), i++);
			}
			let row = this.rows.get(b.id);
			if (!row) this.rows.set(b.id, row = this.row(b.id));
			place(this.body, row.tr, i++);
			this.update(row, b);
		}
		for (const [name, tr] of this.tiers) if (!heads.has(name)) tr.remove();
		if (grouped) this.span();
	}

	// span makes the heads of tiers as wide as the table: a cell that spans more would add columns.
	span() {
		const columns = [...this.table.tHead.rows[0].cells].filter(c => c.offsetWidth > 0).length;
		for (const tr of this.tiers.values()) attr(tr.firstChild, "colspan", String(columns));
	}

	tierRow(tier, all) {
		let tr = this.tiers.get(tier);
		if (!tr) this.tiers.set(tier, tr = el("tr", { class: "tier" }, el("th", { scope: "rowgroup" })));
		const states = {};
		let rate = 0, share = 0;
		for (const b of all) if (tierName(b) === tier) {
			states[b.state] = (states[b.state] ?? 0) + 1;
			rate += b.rate;
			share += b.share;
		}
		text(tr.firstChild, `${tier}: ${stateSentence(states)}, ${number(rate)} requests/s (${percent(share)})`);
		return tr;
	}

	// held reports whether the rows must keep their order: a row that is sorted by a rate must not
	// move while the user is about to press something in it.
	held() {
		return this.body.contains(document.activeElement) || HOVERS.matches && this.body.matches(":hover");
	}

	row(id) {
		const tr = el("tr", { class: "backend" }), row = { tr, cells: {} };
		if (this.control) {
			row.check = el("input", { type: "checkbox", "aria-label": `Select ${id}` });
			row.check.onchange = () => {
				if (row.check.checked) this.selected.add(id); else this.selected.delete(id);
				this.show(this.all);
				this.onselect?.();
			};
			tr.append(el("td", { class: "select" }, row.check));
		}
		COLUMNS.forEach(([key, title, , kind], i) => {
			const td = el(i ? "td" : "th", { scope: i ? undefined : "row", class: `c-${key} ${kind}`, "data-label": title });
			row.cells[key] = td;
			tr.append(td);
		});
		row.name = button(id, () => this.does.open(this.pool, id), { class: "id", "aria-haspopup": "dialog" });
		row.cells.id.append(row.name, row.sub = el("span", { class: "sub" }));
		row.state = el("span", { class: "state" }, row.symbol = el("span", { "aria-hidden": "true" }), row.word = el("span"));
		row.cells.state.append(row.state, row.note = el("span", { class: "note" }));
		row.cells.share.append(row.share = el("span"), el("span", { class: "bar", "aria-hidden": "true" }, row.bar = el("i")));
		row.cells.chart.append(row.chart = spark(`Requests and errors per second of ${id}`));
		if (this.control) {
			row.menu = button("⋯", () => this.does.menu(this.pool, row.now, row.menu), { class: "more", "aria-haspopup": "menu", "aria-label": `Actions for ${id}` });
			tr.append(el("td", { class: "act" }, row.menu));
		}
		tr.onclick = e => { if (!e.target.closest("button, input, a") && !getSelection().toString()) this.does.open(this.pool, id); };
		return row;
	}

	update(row, b) {
		row.now = b;
		const c = row.cells;
		if (row.check) row.check.checked = this.selected.has(b.id);
		attr(row.name, "title", b.id === b.address ? b.id : `${b.id}, ${b.address}`);
		text(row.sub, [b.origin === "configuration" ? "" : b.origin, b.group ?? "", b.zone ?? ""].filter(Boolean).join(", "));
		attr(row.state, "data-state", b.state);
		text(row.symbol, STATES[b.state]?.[1] ?? "");
		text(row.word, stateWord(b.state));
		const words = note(b);
		text(row.note, words);
		attr(row.note, "title", words || undefined);
		attr(row.tr, "data-why", b.why ? "" : undefined);
		text(row.share, percent(b.share));
		const width = `${(100 * b.share).toFixed(1)}%`;
		if (row.bar.style.width !== width) row.bar.style.width = width;
		text(c.rate, number(b.rate));
		text(c.errors, number(b.errorRate));
		attr(c.errors, "data-bad", b.errorRate > 0 ? "" : undefined);
		text(c.flight, b.max_requests ? `${b.in_flight}/${b.max_requests}` : b.in_flight);
		text(c.p50, duration(b.latency.p50));
		text(c.p95, duration(b.latency.p95));
		text(c.p99, duration(b.latency.p99));
		text(c.sessions, number(b.sessions));
		text(c.weight, b.effective_weight === b.weight ? number(b.weight) : `${number(b.effective_weight)} of ${number(b.weight)}`);
		attr(c.weight, "data-changed", b.overrides?.weight !== undefined ? "" : undefined);
		attr(c.weight, "title", b.overrides?.weight !== undefined ? `set by an operator; configured: ${number(b.weight_factors.configured)}` : undefined);
	}

	// draw draws the charts of the shown rows.
	draw(histories, steps) {
		const drawn = `${histories.version} ${steps}`;
		for (const [id, row] of this.rows) {
			if (row.drawn === drawn) continue;
			row.drawn = drawn;
			const key = `${this.pool} ${id}`;
			drawSpark(row.chart, histories.of(key, "requests", steps), histories.of(key, "errors", steps));
		}
	}
}
