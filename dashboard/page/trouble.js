// The trouble of all pools, in the title and the icon of the page.

import { attr, text } from "./dom.js";
import { stateSentence } from "./words.js";

const COLORS = { well: "#1f9d55", some: "#c77700", bad: "#c81e2a", away: "#6b7280" };

const icon = color => `data:image/svg+xml,${encodeURIComponent(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="7" fill="${color}"/></svg>`)}`;

// showTrouble sets the title and the icon. report is undefined while Caddy does not answer.
export function showTrouble(report, host) {
	const name = host ? `Ballast – ${host}` : "Ballast";
	let title = name, kind = "well";
	if (!report) {
		[title, kind] = [`(no answer) ${name}`, "away"];
	} else {
		const out = report.pools.filter(p => p.reason && p.reason !== "no_backends").map(p => p.name), states = {};
		for (const p of report.pools) for (const s of ["down", "ejected"]) if (p.states[s]) states[s] = (states[s] ?? 0) + p.states[s];
		if (out.length) [title, kind] = [`(${out.join(", ")} out) ${name}`, "bad"];
		else if (Object.keys(states).length) [title, kind] = [`(${stateSentence(states)}) ${name}`, "some"];
		else if (report.pools.some(p => p.panic || p.refusedRate > 0)) kind = "some";
	}
	if (document.title !== title) document.title = title;
	attr(document.getElementById("icon"), "href", icon(COLORS[kind]));
}

// showBanner tells that Caddy does not answer, since a time, and why; or no more.
export function showBanner(since, why) {
	const banner = document.getElementById("banner");
	banner.hidden = !since;
	document.documentElement.toggleAttribute("data-stale", Boolean(since));
	if (since) text(banner, `Caddy has not answered since ${new Date(since).toLocaleTimeString()} (${why}). What is shown is of that time.`);
}
