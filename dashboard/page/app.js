// The page polls the pools, their history and events, and renders them.

import { Actions, Menu, say } from "./actions.js";
import { Detail } from "./detail.js";
import { attr, button, el, hide, place, text } from "./dom.js";
import { EventList } from "./events.js";
import { showFleet, totals } from "./fleet.js";
import * as address from "./location.js";
import { PoolView } from "./pool.js";
import { Rates } from "./rates.js";
import { Events, get, Histories } from "./source.js";
import { themeButton } from "./theme.js";
import { showBanner, showTrouble } from "./trouble.js";
import { duration, eventSentence, number, plural, problem, stateWord } from "./words.js";

const $ = id => document.getElementById(id);
const controls = document.documentElement.dataset.mode === "control";
const EVERY = 2000, RETRY = 500; // milliseconds between polls, and before the second try
const views = new Map(), sheds = new Map(), rates = new Rates(), histories = new Histories(), events = new Events();
let latest = null, latestAt = 0, answeredAt = 0, fleet = null, timer = 0, paused = false, asking = false, again = false, filling = false, failures = 0;

const actions = controls ? new Actions(() => latest?.pools ?? [], ask) : null, menu = controls ? new Menu() : null;
const others = new EventList($("other-events"), "None.");
$("others").append(others.more);

// does is what rows and the detail can do.
const does = {
	open: (pool, id) => { address.set("open", `${pool}/${id}`); detail.open(pool, id); fill(); },
	sorted: show,
	menu: controls && ((pool, b, anchor) => b && menu.open(anchor, `Actions for ${b.id}`, [
		["Drain", () => actions.setState(pool, [b], "drain"), b.admin === "drain"],
		["Maintenance", () => actions.setState(pool, [b], "maint"), b.admin === "maint"],
		["Ready", () => actions.setState(pool, [b], "ready"), b.admin === "ready"],
		["Weight…", () => actions.setValue(pool, b, "weight")],
		["Reset weight", () => actions.reset(pool, b, "weight"), b.overrides?.weight === undefined],
		["Max. requests…", () => actions.setValue(pool, b, "max_requests")],
		["Reset max. requests", () => actions.reset(pool, b, "max_requests"), b.overrides?.max_requests === undefined],
		["Remove", () => actions.remove(pool, b), false, true],
	])),
};

const detail = new Detail($("detail"), { closed: () => address.set("open", ""), menu: does.menu, explains: controls });

// ask fetches what has changed, and schedules the next poll, sooner if answers are fast.
async function ask() {
	clearTimeout(timer);
	if (asking) { again = true; return; }
	asking = true;
	const began = performance.now();
	let wait = EVERY;
	try {
		const report = await get("pools");
		await pause();
		latestAt = performance.now() / 1000;
		for (const p of report.pools) PoolView.measure(p, rates, latestAt);
		const [news, members] = await Promise.all([events.update(), report.fleet ? get("fleet").catch(() => fleet) : null, fill(true)]);
		latest = report;
		fleet = members;
		answeredAt = Date.now();
		failures = 0;
		await pause();
		announce(news);
		showBanner(0);
		live(paused ? "paused" : "live", paused ? "paused" : "live");
		show();
		wait = Math.max(EVERY, 10 * (performance.now() - began));
	} catch (e) {
		if (++failures === 1) { // a reload replaces the admin endpoint
			wait = RETRY;
		} else {
			live("away", "no answer");
			showBanner(answeredAt || Date.now(), e.message);
			showTrouble(undefined, latest?.instance.host);
		}
	} finally {
		asking = false;
	}
	if (again) { again = false; ask(); return; }
	if (!paused && !document.hidden) timer = setTimeout(ask, wait);
}

// pause lets the browser draw a frame between two pieces of work.
const pause = () => new Promise(done => setTimeout(done));

function live(state, words) {
	attr($("live"), "data-state", state);
	text($("live-text"), words);
}

// fill fetches the history of what is shown, if it lacks any, and draws it.
async function fill(ifDue = false) {
	const shown = new Map();
	for (const [name, v] of views) shown.set(name, v.section.hidden ? [] : v.table.shown ?? []);
	const [pool, id] = opened();
	if (pool && shown.has(pool) && !shown.get(pool).includes(id)) shown.get(pool).push(id);
	const lacks = [...shown].some(([pool, ids]) => ids.some(id => !histories.series.has(`${pool} ${id}`)));
	if (filling || ifDue && !lacks && !histories.due) return;
	filling = true;
	try {
		await histories.update(shown);
	} finally {
		filling = false;
	}
	draw();
}

const steps = () => Math.round(Number(address.get("range")) * 60 / histories.step);

function draw() {
	if (!histories.tick) return;
	for (const v of views.values()) if (!v.section.hidden) v.draw(histories, steps());
	showDetail();
}

// opened returns the pool and the id of the backend whose detail is open.
function opened() {
	const open = address.get("open"), slash = open.indexOf("/"); // a pool's name has none
	return slash > 0 ? [open.slice(0, slash), open.slice(slash + 1)] : [];
}

function showDetail() {
	const [pool, id] = opened(), report = latest?.pools.find(p => p.name === pool);
	if (!report) return;
	if (detail.id !== id || detail.pool !== pool) detail.open(pool, id);
	detail.show(report, histories, steps(), events.all);
}

// fits reports whether a backend matches the search and the filter.
function fits(b) {
	const words = address.get("find").trim().toLowerCase();
	if (address.get("problems") && !problem(b)) return false;
	return !words || [b.id, b.address, b.state, stateWord(b.state), b.reason ?? "", b.why ?? "", b.group ?? "", b.zone ?? ""].some(s => s.toLowerCase().includes(words));
}

// show renders the latest answer.
function show() {
	if (!latest) return;
	const names = new Set(latest.pools.map(p => p.name)), main = $("pools"), jump = $("jump");
	for (const [name, v] of views) if (!names.has(name)) { v.section.remove(); v.link.remove(); views.delete(name); }
	const searched = address.get("find").trim() !== "" || Boolean(address.get("problems")), sums = totals(fleet);
	let seen = 0, rate = 0, refused = 0, lacking = false;
	hide(jump, latest.pools.length < 2);
	if (latest.pools.length) main.querySelector(":scope > .empty")?.remove();
	latest.pools.forEach((pool, i) => {
		let v = views.get(pool.name);
		if (!v) views.set(pool.name, v = new PoolView(pool.name, does, actions));
		place(main, v.section, i);
		place(jump, v.link, i);
		hide(v.section, v.show(pool, fits, sums.get(pool.name)) === 0 && searched && latest.pools.length > 1); // pools without a match
		v.events.show(events.all.filter(e => e.data?.pool === pool.name));
		seen += !v.section.hidden;
		rate += pool.rate;
		refused += pool.refusedRate;
		lacking ||= !v.section.hidden && v.table.shown.some(id => !histories.series.has(`${pool.name} ${id}`));
	});
	hide($("nothing"), seen > 0 || !latest.pools.length);
	if (!latest.pools.length && !main.querySelector(":scope > .empty")) main.append(el("p", { class: "empty" }, "There are no pools."));
	const other = events.all.filter(e => !names.has(e.data?.pool));
	hide($("others"), other.length === 0);
	others.show(other);
	const i = latest.instance, backends = latest.pools.reduce((n, p) => n + p.backends.length, 0);
	text($("host"), `${i.host} · ${[i.ballast && i.ballast !== "(devel)" ? `Ballast ${i.ballast}` : "", `Caddy ${i.caddy}`].filter(Boolean).join(", ")} · up ${duration(i.uptime_seconds)} · configured ${new Date(i.configured).toLocaleString()}`);
	text($("total"), `${plural(latest.pools.length, "pool")}, ${plural(backends, "backend")}, ${number(rate)} requests/s${refused ? `, ${number(refused)} refused/s` : ""}`);
	showSheds();
	showFleet(latest.fleet, fleet);
	showTrouble(latest, i.host);
	rates.forget(latestAt);
	if (lacking && !filling) fill().catch(() => {}); // the next poll tells
	else pause().then(draw);
}

function showSheds() {
	const all = latest.shed ?? [];
	hide($("shedding"), all.length === 0);
	for (const [name, row] of sheds) if (!all.some(s => s.name === name)) { row.remove(); sheds.delete(name); }
	for (const s of all) {
		let row = sheds.get(s.name);
		if (!row) {
			sheds.set(s.name, row = el("tr", {}, el("th", { scope: "row" }, s.name), ...[0, 1, 2, 3, 4].map(() => el("td", { class: "n" }))));
			$("sheds").append(row);
		}
		const refused = rates.of(`shed ${s.name}`, s.refused, latestAt);
		[number(refused), number(rates.of(`admitted ${s.name}`, s.admitted, latestAt)), s.limit || "by key", number(s.in_flight), number(s.waiting)].forEach((v, i) => text(row.children[i + 1], v));
		attr(row.children[1], "data-bad", refused > 0 ? "" : undefined);
	}
}

// announce tells screen readers what has happened.
function announce(news) {
	if (news.length) say(news.length > 3 ? `${news.length} events` : news.map(e => `${e.data?.pool ?? ""} ${eventSentence(e)}`).join(". "));
}

$("pause").onclick = () => {
	paused = !paused;
	text($("pause"), paused ? "Resume" : "Pause");
	ask();
};
themeButton($("theme"));
for (const minutes of ["5", "15"]) {
	$("range").append(button(`${minutes} min`, e => {
		address.set("range", minutes);
		for (const b of $("range").children) attr(b, "aria-pressed", String(b === e.target));
		draw();
	}, { "aria-pressed": String(address.get("range") === minutes) }));
}
$("filter").onsubmit = e => e.preventDefault();
$("find").value = address.get("find");
$("problems").checked = Boolean(address.get("problems"));
$("find").oninput = () => { address.set("find", $("find").value); show(); };
$("problems").onchange = () => { address.set("problems", $("problems").checked ? "1" : ""); show(); };
document.addEventListener("visibilitychange", () => { if (!document.hidden && !paused) ask(); });
ask();
