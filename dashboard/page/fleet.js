// The fleet: each instance answers for itself, and the page adds up what they say.

import { attr, el, hide, text } from "./dom.js";
import { number, plural } from "./words.js";

const $ = id => document.getElementById(id);
const FIGURES = ["requests", "errors", "refused", "in_flight"];

// totals returns the sums over all instances, by pool; and of a pool only if other instances have it.
export function totals(fleet) {
	const all = new Map();
	for (const i of fleet?.instances ?? []) for (const p of i.pools) {
		if (!p.digest) continue;
		const t = all.get(p.pool) ?? { instances: 0, requests: 0, errors: 0, refused: 0, in_flight: 0 };
		t.instances++;
		for (const f of FIGURES) t[f] += p.digest[f];
		all.set(p.pool, t);
	}
	for (const [pool, t] of all) if (t.instances < 2) all.delete(pool);
	return all;
}

const cells = n => Array.from({ length: n }, () => el("td"));

function row(tr, first, values) {
	text(tr.children[0], first);
	values.forEach((v, i) => text(tr.children[i + 1], v));
}

// showFleet renders the instances. summary is that of the report of the pools, and fleet the whole of
// it, which may be missing.
export function showFleet(summary, fleet) {
	hide($("fleet"), !summary);
	if (!summary) return;
	const cut = summary.isolated.length ? `; this instance may be cut off from the backends of ${summary.isolated.join(", ")}` : "";
	attr($("fleet-note"), "data-bad", summary.connected && !cut ? undefined : "");
	text($("fleet-note"), `${plural(summary.instances, "instance")}, ${summary.connected ? "store connected" : `store lost: ${summary.error ?? "not reached yet"}`}${cut}`);
	const all = fleet?.instances ?? [], body = $("instances");
	while (body.children.length > all.length) body.lastChild.remove();
	const sums = { requests: 0, errors: 0, refused: 0, in_flight: 0 };
	all.forEach((i, n) => {
		let tr = body.children[n];
		if (!tr) {
			body.append(tr = el("tr", {}, el("th", { scope: "row" }), ...cells(6)));
			for (const td of [...tr.children].slice(2, 6)) td.className = "n";
		}
		const own = { requests: 0, errors: 0, refused: 0, in_flight: 0 };
		let down = 0, said = false;
		for (const p of i.pools) {
			down += p.down + p.ejected;
			if (!p.digest) continue;
			said = true;
			for (const f of FIGURES) { own[f] += p.digest[f]; sums[f] += p.digest[f]; }
		}
		attr(tr, "data-self", i.self ? "" : undefined);
		const name = all.filter(other => other.name === i.name).length > 1 ? i.id : i.name || i.id; // which starts with the name
		row(tr, i.self ? `${name} (this one)` : name, [i.zone ?? "", ...FIGURES.map(f => said ? number(own[f]) : "–"), down ? `${plural(down, "backend")} down or ejected` : "all backends up"]);
	});
	const foot = $("instances-total");
	if (!foot.firstChild) {
		foot.append(el("tr", {}, el("th", { scope: "row" }), ...cells(6)));
		for (const td of [...foot.firstChild.children].slice(2, 6)) td.className = "n";
	}
	row(foot.firstChild, "All instances", ["", ...FIGURES.map(f => number(sums[f])), ""]);
	hide(foot, all.length < 2);
}
