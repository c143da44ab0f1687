// The detail of one backend, in a drawer, with an explanation of where a request would go.

import { Chart } from "./chart.js";
import { attr, button, el, hide, text } from "./dom.js";
import { EventList } from "./events.js";
import { get, poolPath } from "./source.js";
import { duration, fails, note, number, percent, plural, stateWord } from "./words.js";

const ago = at => `${duration(Math.max(0, (Date.now() - Date.parse(at)) / 1000))} ago`;
const KINDS = { status: "answered with 5xx" };
const FACTORS = { configured: "configured", operator: "operator", agent: "agent", reported: "load report", slow_start: "slow start" };

export class Detail {
	// closed is called when the user closes the drawer; menu(pool, b, button) opens the actions, if any.
	constructor(dialog, { closed, menu, explains }) {
		this.dialog = dialog;
		this.title = el("h2", { id: "detail-title" });
		this.state = el("p");
		this.menu = menu && button("Actions", () => menu(this.pool, this.now, this.menu), { "aria-haspopup": "menu" });
		const close = button("Close", () => dialog.close());
		this.charts = {
			requests: new Chart("Requests per second", number), errors: new Chart("Errors per second", number, "bad"),
			in_flight: new Chart("In flight", number), p95: new Chart("p95", s => duration(s)),
		};
		const charts = el("div", { class: "charts" });
		for (const [title, c] of [["Requests/s", "requests"], ["Errors/s", "errors"], ["In flight", "in_flight"], ["p95", "p95"]]) charts.append(el("div", {}, el("h3", {}, title), this.charts[c].box));
		this.facts = el("dl", { class: "facts" });
		this.factValues = new Map();
		this.checks = el("tbody");
		this.checkTable = el("table", {}, el("thead", {}, el("tr", {}, ...["Check", "State", "Latest", "Took", "Passed", "Failed"].map(h => el("th", { scope: "col" }, h)))), this.checks);
		const list = el("ol", { class: "events" });
		this.events = new EventList(list, "No events since Caddy was started.");
		dialog.replaceChildren(el("div", { class: "head" }, this.title, el("div", { class: "buttons" }, ...(this.menu ? [this.menu] : []), close)), this.state, charts, this.facts,
			this.checkBox = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Checks" }, this.checkTable), el("h3", {}, "Events"), list, this.events.more, ...(explains ? [this.explainForm()] : []));
		dialog.onclose = () => {
			document.body.append(...dialog.querySelectorAll(".toasts, .menu"));
			this.pool = this.id = undefined;
			closed();
		};
		dialog.onclick = e => { if (e.target === dialog) dialog.close(); }; // beside the drawer
	}

	open(pool, id) {
		this.pool = pool;
		this.id = id;
		this.explained?.replaceChildren();
		text(this.title, id);
		if (!this.dialog.open) this.dialog.showModal();
		this.dialog.append(document.getElementById("toasts"));
		this.dialog.scrollTop = 0;
	}

	// show renders the backend, from a report of its pool with rates, or says that it has left.
	show(pool, histories, steps, events) {
		if (!this.id || pool.name !== this.pool) return;
		const b = pool.backends.find(b => b.id === this.id);
		this.now = b;
		if (this.menu) this.menu.disabled = !b;
		text(this.state, b ? `${stateWord(b.state)}${note(b) ? `: ${note(b)}` : ""}` : "It is no longer in the pool.");
		attr(this.state, "data-state", b?.state ?? "gone");
		for (const [figure, chart] of Object.entries(this.charts)) chart.show(histories.of(`${this.pool} ${this.id}`, figure, steps), histories.step, histories.at);
		this.events.show(events.filter(e => e.data?.pool === this.pool && e.data?.backend === this.id));
		if (b) this.showFacts(b, pool);
		this.showChecks(b?.checks ?? []);
	}

	showFacts(b, pool) {
		const factors = Object.entries(b.weight_factors).filter(([name, v]) => name === "configured" || v !== 1).map(([name, v]) => `${FACTORS[name] ?? name} ${number(v)}`);
		const counts = (all, words = {}) => Object.entries(all).filter(([, n]) => n).map(([k, n]) => `${words[k] ?? k.replaceAll("_", " ")}: ${number(n)}`).join(", ") || "none";
		const facts = {
			Pool: pool.name, Address: b.address, Origin: b.origin, Tier: b.backup ? "backup" : b.tier, Group: b.group, Zone: b.zone, Instance: b.instance,
			"Since": `${stateWord(b.state)} for ${duration(Math.max(0, (Date.now() - Date.parse(b.since)) / 1000))}`,
			"Down so far": b.downs ? `${plural(b.downs, "time")}, ${duration(b.down_seconds)} in total` : "never", "Ejected so far": b.ejections ? plural(b.ejections, "time") : "never",
			Share: `${percent(b.share)} of the pool's requests`, Requests: `${number(b.requests)} in total, ${number(b.rate)} per second`,
			Responses: counts(b.responses), Errors: fails(b) ? counts(b.errors, KINDS) : "none", "Latest attempts failed": b.failing ? percent(b.failing) : undefined,
			Connections: b.connections ? `${number(b.connections.open)} open, ${number(b.connections.made)} so far, connected in ${duration(b.connections.mean_connect_seconds)} and open for ${duration(b.connections.mean_duration_seconds)} on average` : undefined,
			"Bytes of connections": b.connections ? `${number(b.connections.sent_bytes)} sent, ${number(b.connections.received_bytes)} received` : undefined,
			"Clients that left": b.client_gone ? number(b.client_gone) : undefined,
			"p50, p95, p99": b.latency.p95 === undefined ? "no responses in the last minute" : ["p50", "p95", "p99"].map(q => duration(b.latency[q])).join(", "),
			Weight: `${number(b.effective_weight)} = ${factors.join(" × ")}`,
			"Set by an operator": b.overrides ? [b.overrides.weight !== undefined ? `weight ${number(b.overrides.weight)}` : "", b.overrides.max_requests !== undefined ? `max. requests ${number(b.overrides.max_requests)}` : ""].filter(Boolean).join(", ") : undefined,
			"Set for the address": b.for_address?.map(field => ({ state: stateWord(b.admin), weight: "weight", max_requests: "max. requests" })[field]).join(", "),
			Limit: b.fleet_limit ? `${number(b.fleet_limit.share)} of ${number(b.fleet_limit.max_requests)} of the fleet` : b.max_requests ? `${number(b.max_requests)} requests in flight` : "none",
			"In flight": number(b.in_flight), Sessions: b.sessions === null ? undefined : number(b.sessions), Idle: b.idle_seconds ? duration(b.idle_seconds) : undefined,
			Meta: b.meta && Object.keys(b.meta).length ? Object.entries(b.meta).map(([k, v]) => `${k}: ${v}`).join(", ") : undefined,
		};
		for (const [name, v] of Object.entries(facts)) {
			let row = this.factValues.get(name);
			if (!row) {
				row = { dt: el("dt", {}, name), dd: el("dd") };
				this.factValues.set(name, row);
				this.facts.append(row.dt, row.dd);
			}
			const missing = v === undefined || v === null || v === "";
			hide(row.dt, missing);
			hide(row.dd, missing);
			if (!missing) text(row.dd, v);
		}
	}

	showChecks(checks) {
		hide(this.checkBox, checks.length === 0);
		while (this.checks.children.length > checks.length) this.checks.lastChild.remove();
		checks.forEach((c, i) => {
			let tr = this.checks.children[i];
			if (!tr) this.checks.append(tr = el("tr", {}, ...[0, 1, 2, 3, 4, 5].map(() => el("td"))));
			[c.check, c.held ? "fails; the guard holds it up" : c.up ? "up" : "down", c.last_at ? `${c.last_error || "passed"}, ${ago(c.last_at)}` : "not yet", c.last_at ? duration(c.last_seconds) : "–", number(c.passes), number(c.fails)]
				.forEach((v, n) => text(tr.children[n], v));
		});
	}

	// explainForm asks for a request, and shows which backend would get it.
	explainForm() {
		const input = (label, name, attributes) => el("label", {}, label, el("input", { name, autocomplete: "off", spellcheck: "false", ...attributes }));
		this.explained = el("div", { role: "status" });
		const form = el("form", { class: "explain" }, el("h3", {}, "Where would a request go?"),
			el("div", { class: "pair" }, input("Path", "uri", { value: "/", required: true }), input("Client", "client_ip", { value: "127.0.0.1", required: true })),
			el("div", { class: "pair" }, input("Host", "host", { value: "localhost", required: true }), input("Header", "header", { placeholder: "X-Tenant: a" })),
			el("button", { class: "primary" }, "Explain"), this.explained);
		form.onsubmit = async e => {
			e.preventDefault();
			const query = new URLSearchParams([...new FormData(form)].filter(([, v]) => v !== "")), pool = this.pool;
			try {
				const x = await get(`${poolPath(pool)}/explain?${query}`);
				this.explained.replaceChildren(...[x, ...x.others ?? []].map(e => this.explanation(e)));
			} catch (e) {
				this.explained.replaceChildren(el("p", { class: "bad" }, e.message));
			}
		};
		return form;
	}

	explanation(x) {
		const own = x.candidates.find(c => c.id === this.id), others = x.candidates.filter(c => c.odds > 0 && c.id !== this.id).sort((a, b) => b.odds - a.odds).slice(0, 10);
		const row = c => el("tr", {}, el("th", { scope: "row" }, c.id), el("td", { class: "n" }, percent(c.odds)),
			el("td", {}, c.passed_over || Object.entries(c.score ?? {}).map(([k, v]) => `${k.replaceAll("_", " ")} ${number(v)}`).join(", ") || "–"));
		return el("div", {}, el("p", {}, `${x.policy}: ${x.why}`),
			el("table", {}, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Backend"), el("th", { scope: "col", class: "n" }, "Chance"), el("th", { scope: "col" }, "Why"))), el("tbody", {}, ...[own, ...others].filter(Boolean).map(row))));
	}
}
