// The page polls the pools and renders them.

import { attr, draw, el, number, spark, text } from "./dom.js";
import { Memory } from "./history.js";
import { PoolView } from "./pool.js";

const $ = id => document.getElementById(id);
const control = document.documentElement.dataset.mode === "control" ? act : null;
const memory = new Memory(), views = new Map(), states = new Map(), sheds = new Map();
let latest = null, latestAt = 0, timer = 0, paused = false, asking = false, again = false;

// ask fetches the pools and schedules the next poll, sooner if answers are fast.
async function ask() {
	clearTimeout(timer);
	if (asking) { again = true; return; }
	asking = true;
	const began = performance.now();
	try {
		const res = await fetch("pools", { headers: { Accept: "application/json" }, cache: "no-store", signal: AbortSignal.timeout(10000) });
		if (!res.ok) throw new Error(`status ${res.status}`);
		latest = await res.json();
		latestAt = performance.now() / 1000;
		notice();
		show();
		live("live", paused ? "paused" : "live");
	} catch (e) {
		live("away", `unreachable: ${e.message}; retrying`);
	} finally {
		asking = false;
	}
	if (again) { again = false; ask(); return; }
	if (!paused && !document.hidden) timer = setTimeout(ask, Math.max(2000, 10 * (performance.now() - began)));
}

function live(state, words) {
	attr($("live"), "data-state", paused && state === "live" ? "paused" : state);
	text($("live-text"), words);
}

// fits reports whether a backend matches the search and the filter.
function fits(b) {
	const words = $("find").value.trim().toLowerCase();
	if ($("troubled").checked && b.state === "up" && !b.reason) return false;
	return !words || [b.id, b.address, b.state, b.reason ?? ""].some(s => s.toLowerCase().includes(words));
}

// show renders the latest answer. Each answer counts once in the rates.
function show() {
	if (!latest) return;
	const at = latestAt;
	const names = new Set(latest.pools.map(p => p.name)), main = $("pools");
	for (const [name, v] of views) if (!names.has(name)) { v.section.remove(); v.link.remove(); views.delete(name); }
	const searched = $("find").value.trim() !== "" || $("troubled").checked, jump = $("jump");
	let seen = 0;
	jump.hidden = latest.pools.length < 2;
	latest.pools.forEach((pool, i) => {
		let v = views.get(pool.name);
		if (!v) views.set(pool.name, v = new PoolView(pool.name, control));
		if (main.children[i] !== v.section) main.insertBefore(v.section, main.children[i] ?? null);
		if (jump.children[i] !== v.link) jump.insertBefore(v.link, jump.children[i] ?? null);
		// Hide pools without a match.
		v.section.hidden = v.show(pool, memory, at, fits) === 0 && searched && latest.pools.length > 1;
		seen += !v.section.hidden;
	});
	$("nothing").hidden = seen > 0 || !latest.pools.length;
	if (!latest.pools.length && !main.children.length) main.append(el("p", { class: "empty" }, "There are no pools."));
	else if (latest.pools.length) main.querySelector(":scope > p")?.remove();
	showSheds(at);
	showFleet(latest.fleet);
	memory.forget(at);
}

// showFleet shows how many instances there are, and whether their store can be reached.
function showFleet(fleet) {
	$("fleet").hidden = !fleet;
	if (!fleet) return;
	const cut = fleet.isolated.length ? `; this instance may be cut off from the backends of ${fleet.isolated.join(", ")}` : "";
	attr($("fleet"), "data-state", fleet.connected && !cut ? "live" : "away");
	text($("fleet"), `Fleet: ${fleet.instances} ${fleet.instances === 1 ? "instance" : "instances"}, ${fleet.connected ? "store connected" : `store lost: ${fleet.error ?? "not reached yet"}`}${cut}`);
}

function showSheds(at) {
	const all = latest.shed ?? [];
	$("shedding").hidden = all.length === 0;
	for (const [name, row] of sheds) if (!all.some(s => s.name === name)) { row.tr.remove(); sheds.delete(name); }
	for (const s of all) {
		let row = sheds.get(s.name);
		if (!row) {
			const cells = [0, 1, 2, 3, 4].map(() => el("td", { role: "cell", class: "n" })), chart = spark(`Requests refused by ${s.name} per second, in the last minutes`, true);
			row = { cells, chart, tr: el("tr", { role: "row" }, el("th", { role: "rowheader", scope: "row" }, s.name), ...cells, el("td", { role: "cell" }, chart)) };
			sheds.set(s.name, row);
			$("sheds").append(row.tr);
		}
		const refused = memory.count(`shed ${s.name}`, s.refused, at);
		[s.limit || "by key", number(s.in_flight), number(s.waiting), number(memory.count(`let in ${s.name}`, s.admitted, at).rate), number(refused.rate)].forEach((v, i) => text(row.cells[i], v));
		draw(row.chart, refused.series);
	}
}

// notice announces changed states, on the page and to screen readers.
function notice() {
	const news = [], first = states.size === 0, known = new Set();
	for (const p of latest.pools) for (const b of p.backends) {
		const key = `${p.name} ${b.id}`, before = states.get(key);
		known.add(key);
		if (before !== b.state) {
			states.set(key, b.state);
			if (!first) news.push(`${b.id} of ${p.name} ${before ? "is" : "was added:"} ${b.state}${b.reason ? `, ${b.reason}` : ""}`);
		}
	}
	for (const key of states.keys()) if (!known.has(key)) { states.delete(key); news.push(`${key.split(" ")[1]} of ${key.split(" ")[0]} was removed`); }
	if (!news.length) return;
	text($("said"), news.length > 3 ? `${news.length} backends changed state` : news.join(". "));
	const list = $("events"), now = new Date();
	list.querySelector(".empty")?.remove();
	for (const line of news.slice(0, 50)) list.prepend(el("li", {}, el("time", { datetime: now.toISOString() }, now.toLocaleTimeString()), line));
	while (list.children.length > 100) list.lastElementChild.remove();
}

// act sets the state or the weight of a backend.
async function act(pool, b, word) {
	let change = { state: word };
	if (word === "weight") {
		const n = await weigh(b);
		if (n === undefined) return;
		change = { weight: n };
	}
	try {
		const res = await fetch(`pools/${encodeURIComponent(pool)}/backends/${encodeURIComponent(b.id)}`, {
			method: "PATCH", headers: { "Content-Type": "application/json" }, body: JSON.stringify(change), signal: AbortSignal.timeout(10000),
		});
		if (!res.ok) throw new Error((await res.json().catch(() => ({}))).error ?? `status ${res.status}`);
		const warning = (await res.json().catch(() => ({}))).warning;
		text($("failed"), warning ? `${b.id}: ${warning}` : "");
		$("failed").hidden = !warning;
		text($("said"), word === "weight" ? `Weight of ${b.id} set` : `State of ${b.id} set to ${word}`);
	} catch (e) {
		text($("failed"), `${b.id} was not changed: ${e.message}`);
		$("failed").hidden = false;
	}
	ask();
}

// weigh asks the user for a weight. It returns a number, null for the configured weight, or undefined.
function weigh(b) {
	const dialog = $("weigh");
	text($("weigh-title"), `Weight of ${b.id}`);
	$("weigh-value").value = Math.round(b.weight);
	dialog.returnValue = "cancel";
	dialog.showModal();
	return new Promise(done => dialog.addEventListener("close", () => {
		done(dialog.returnValue === "set" ? Number($("weigh-value").value) : dialog.returnValue === "configured" ? null : undefined);
	}, { once: true }));
}

$("pause").onclick = () => {
	paused = !paused;
	attr($("pause"), "aria-pressed", String(paused));
	ask();
};
$("filter").onsubmit = e => e.preventDefault();
for (const id of ["find", "troubled"]) $(id).oninput = show;
document.addEventListener("visibilitychange", () => { if (!document.hidden && !paused) ask(); });
ask();
