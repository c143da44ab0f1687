// The table of a pool's backends. Only the backends of the shown page have rows,
// and a cell is written only if its content changes.

import { attr, draw, duration, el, number, spark, text } from "./dom.js";

const SYMBOLS = { up: "✓", down: "✕", ejected: "⏏", trial: "?", drain: "↓", maint: "⚙" };
const PAGE = 50;
const HOVERS = matchMedia("(hover: hover)"); // false for touch

// COLUMNS are the columns: title, sort key and classes.
const COLUMNS = [
	["Backend", b => b.id, "wide"],
	["State", b => b.state, "wide"],
	["Weight", b => -b.effective_weight, "n"],
	["Share", b => -b.rate, "share n"],
	["Requests/s", b => -b.rate, "n"],
	["", null, "wide chart"],
	["Errors/s", b => -b.errorRate, "n"],
	["In flight", b => -b.in_flight, "n"],
	["p50", b => -(b.latency.p50 ?? 0), "n"],
	["p95", b => -(b.latency.p95 ?? 0), "n"],
	["p99", b => -(b.latency.p99 ?? 0), "n"],
	["Sessions", b => -(b.sessions ?? -1), "n"],
];

export class Backends {
	page = 0;
	sort = -1; // as the pool has them
	rows = new Map();

	constructor(pool, control) {
		this.pool = pool;
		this.control = control;
		this.body = el("tbody", { role: "rowgroup" });
		this.headers = COLUMNS.map(([name, by], i) => this.header(name, by, i));
		const heads = el("tr", { role: "row" }, ...this.headers);
		if (control) heads.append(el("th", { role: "columnheader", scope: "col" }, el("span", { class: "hidden" }, "Actions")));
		const table = el("table", { role: "table", class: "rows", "aria-label": `Backends of ${pool}` }, el("thead", { role: "rowgroup" }, heads), this.body);
		this.scroll = el("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": `Backends of ${pool}, scrollable` }, table);
		this.before = el("button", { type: "button" }, "Previous");
		this.after = el("button", { type: "button" }, "Next");
		this.where = el("span", { role: "status" });
		this.pager = el("div", { class: "pager" }, this.before, this.after, this.where);
		this.before.onclick = () => this.turn(-1);
		this.after.onclick = () => this.turn(1);
	}

	header(name, by, i) {
		const th = el("th", { role: "columnheader", scope: "col", class: COLUMNS[i][2].includes("n") ? "n" : undefined });
		if (!by) {
			th.append(el("span", { class: "hidden" }, "Chart of requests and errors"));
			return th;
		}
		const button = el("button", { type: "button" }, name);
		button.onclick = () => {
			[this.sort, this.reverse] = this.sort !== i ? [i, false] : this.reverse ? [-1, false] : [i, true];
			this.headers.forEach((h, n) => n === this.sort ? attr(h, "aria-sort", this.reverse !== (n > 1) ? "descending" : "ascending") : h.removeAttribute("aria-sort"));
			this.show(this.all);
		};
		th.append(button);
		return th;
	}

	turn(by) {
		this.page += by;
		this.show(this.all);
	}

	// show renders backends, with the rates that were added to them.
	show(all) {
		this.all = all;
		let list = all;
		if (this.sort >= 0) {
			list = [...all].sort(this.held() ? this.asBefore : this.anew);
			this.order = new Map(list.map((b, i) => [b.id, i]));
			this.sorted = `${this.sort} ${this.reverse}`;
		}
		const pages = Math.max(1, Math.ceil(list.length / PAGE));
		this.page = Math.min(Math.max(this.page, 0), pages - 1);
		const from = this.page * PAGE, shown = list.slice(from, from + PAGE);
		this.pager.hidden = pages === 1;
		text(this.where, `${from + 1} to ${from + shown.length} of ${list.length}`);
		this.before.disabled = this.page === 0;
		this.after.disabled = this.page === pages - 1;
		const keep = new Set(shown.map(b => b.id));
		for (const [id, row] of this.rows) if (!keep.has(id)) { row.tr.remove(); this.rows.delete(id); }
		shown.forEach((b, i) => {
			let row = this.rows.get(b.id);
			if (!row) this.rows.set(b.id, row = this.row(b.id));
			if (this.body.children[i] !== row.tr) this.place(row.tr, i);
			this.update(row, b);
		});
	}

	anew = (a, b) => {
		const by = COLUMNS[this.sort][1], x = by(a), y = by(b);
		return (this.reverse ? -1 : 1) * (x < y ? -1 : x > y ? 1 : 0);
	};

	asBefore = (a, b) => (this.order.get(a.id) ?? Infinity) - (this.order.get(b.id) ?? Infinity) || 0;

	// held reports whether the rows must keep their order: a row that is sorted
	// by a rate must not move while the user is about to press one of its buttons.
	held() {
		return this.sorted === `${this.sort} ${this.reverse}` && (this.body.contains(document.activeElement) || HOVERS.matches && this.body.matches(":hover"));
	}

	// place moves a row and keeps the focus in it.
	place(tr, i) {
		const focused = tr.contains(document.activeElement) ? document.activeElement : null;
		this.body.insertBefore(tr, this.body.children[i] ?? null);
		focused?.focus({ preventScroll: true });
	}

	row(id) {
		const tr = el("tr", { role: "row" });
		const row = { tr, cells: COLUMNS.map(([name, , kind], i) => {
			const td = el(i ? "td" : "th", { role: i ? "cell" : "rowheader", scope: i ? undefined : "row", class: kind, "data-label": name });
			if (!i) td.className = "wide name";
			tr.append(td);
			return td;
		}) };
		const [name, state, , share, , chart] = row.cells;
		name.append(row.id = el("span", { class: "id" }), row.address = el("span", { class: "sub" }));
		state.append(row.state = el("span", { class: "state" }, row.symbol = el("span", { "aria-hidden": "true" }), row.word = el("span")), row.reason = el("span", { class: "sub" }));
		share.append(row.bar = el("i", { "aria-hidden": "true" }), row.share = el("span"));
		chart.append(row.chart = spark(`Requests and errors per second of ${id}, in the last minutes`, false, true));
		if (this.control) {
			const all = el("div"), td = el("td", { role: "cell", class: "wide actions" }, all);
			row.buttons = ["drain", "maint", "ready", "weight"].map(word => {
				const b = el("button", { type: "button" }, word[0].toUpperCase() + word.slice(1), el("span", { class: "hidden" }, ` ${id}`));
				b.onclick = () => b.getAttribute("aria-disabled") === "true" || this.control(this.pool, row.now, word);
				all.append(b);
				return [word, b];
			});
			tr.append(td);
		}
		return row;
	}

	update(row, b) {
		row.now = b;
		const [, , weight, , rate, , errors, inFlight, p50, p95, p99, sessions] = row.cells;
		text(row.id, b.id);
		text(row.address, [b.address === b.id ? "" : b.address, b.backup ? "backup" : b.tier ? `tier ${b.tier}` : "", b.origin === "configuration" ? "" : b.origin].filter(Boolean).join(", "));
		attr(row.state, "data-state", b.state);
		text(row.symbol, SYMBOLS[b.state] ?? "");
		text(row.word, b.state);
		const left = b.drain ? [b.drain.requests ? `${b.drain.requests} in flight` : "", b.drain.sessions ? `${b.drain.sessions} sessions` : "", b.warning ? b.warning : b.drain.safe ? "safe to remove" : ""] : [];
		attr(row.reason, "class", b.state === "up" ? "sub" : "sub why");
		text(row.reason, [b.state === "up" && !b.reason ? "" : b.reason ?? "", b.state === "up" ? "" : `for ${duration(Math.max(0, (Date.now() - Date.parse(b.since)) / 1000))}`, ...left].filter(Boolean).join(", "));
		text(weight, b.effective_weight === b.weight ? number(b.weight) : `${number(b.weight)} (${number(b.effective_weight)})`);
		text(row.share, `${Math.round(100 * b.share)} %`);
		const width = `${Math.round(100 * b.share)}%`;
		if (row.bar.style.width !== width) row.bar.style.width = width;
		text(rate, number(b.rate));
		text(errors, number(b.errorRate));
		text(inFlight, b.max_requests ? `${b.in_flight} of ${b.max_requests}` : b.in_flight);
		text(p50, duration(b.latency.p50));
		text(p95, duration(b.latency.p95));
		text(p99, duration(b.latency.p99));
		text(sessions, number(b.sessions));
		draw(row.chart, b.series, b.errorSeries);
		for (const [word, button] of row.buttons ?? []) attr(button, "aria-disabled", String(word === b.admin));
	}
}
