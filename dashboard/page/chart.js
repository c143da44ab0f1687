// Charts of one or two figures over time, in SVG. A chart has an axis, and shows the time and the
// values under the pointer; a spark is its small form in a row of a table.

import { attr, el, text } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";

function shape(name, attributes = {}) {
	const e = document.createElementNS(SVG, name);
	for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
	return e;
}

// top returns the greatest value of all.
function top(all) {
	let most = 0;
	for (const values of all) for (const v of values) if (v > most) most = v;
	return most;
}

// line returns the path of values in a box of 100 x 30, with most at its top.
function line(values, most) {
	let d = "", open = false;
	for (let i = 0; i < values.length; i++) {
		const v = values[i];
		if (v === undefined) { open = false; continue; }
		const x = values.length > 1 ? 100 * i / (values.length - 1) : 100, y = 29 - (most ? 27 * v / most : 0);
		d += `${open ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
		open = true;
	}
	return d;
}

// spark creates a small chart. With two figures the second is a bad one.
export function spark(label) {
	const s = shape("svg", { viewBox: "0 0 100 30", preserveAspectRatio: "none", role: "img", "aria-label": label, class: "spark" });
	s.append(shape("path"), shape("path", { class: "second" }));
	return s;
}

export function drawSpark(s, good, bad) {
	const most = top([good, bad]);
	attr(s.children[0], "d", line(good, most));
	attr(s.children[1], "d", top([bad]) ? line(bad, most) : "");
}

// round returns a number at or above n that reads well on an axis.
function round(n) {
	if (!n) return 1;
	const unit = 10 ** Math.floor(Math.log10(n));
	return [1, 1.5, 2, 3, 4, 5, 7.5, 10].map(f => f * unit).find(v => v >= n * 0.999);
}

const clock = at => new Date(at).toLocaleTimeString();

// Chart is a chart with an axis. words turns a value into text.
export class Chart {
	values = [];

	constructor(label, words, kind = "") {
		this.words = words;
		this.svg = shape("svg", { viewBox: "0 0 100 30", preserveAspectRatio: "none", "aria-hidden": "true", class: `plot ${kind}` });
		this.area = shape("path", { class: "area" });
		this.line = shape("path");
		this.cursor = shape("path", { class: "cursor" });
		this.svg.append(shape("path", { class: "grid", d: "M0 29H100M0 2H100" }), this.area, this.line, this.cursor);
		this.top = el("span", { class: "top" });
		this.from = el("span");
		this.tip = el("output", { class: "tip", hidden: true });
		this.box = el("div", { class: "chart", tabindex: "0", role: "img", "aria-label": label }, this.svg, this.top, el("div", { class: "times", "aria-hidden": "true" }, this.from, el("span", {}, "now")), this.tip);
		this.label = label;
		this.svg.onpointermove = e => {
			const box = this.svg.getBoundingClientRect();
			this.point(Math.round((e.clientX - box.left) / box.width * (this.values.length - 1)));
		};
		this.svg.onpointerleave = () => this.point(undefined);
		this.box.onblur = () => this.point(undefined);
		this.box.onkeydown = e => {
			const by = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
			if (!by) return;
			e.preventDefault();
			this.point(Math.min(this.values.length - 1, Math.max(0, (this.at ?? this.values.length) + by)));
		};
	}

	// show draws values that are step seconds apart, the last of them at a time.
	show(values, step, at) {
		Object.assign(this, { values, step, end: at });
		const most = round(top([values])), d = line(values, most);
		if (this.line.getAttribute("d") !== d) {
			this.line.setAttribute("d", d);
			const first = values.findIndex(v => v !== undefined), gap = values.slice(Math.max(0, first)).includes(undefined);
			attr(this.area, "d", first < 0 || gap ? "" : `${d}L100 29L${(100 * first / (values.length - 1)).toFixed(1)} 29Z`);
		}
		text(this.top, this.words(most));
		text(this.from, `−${Math.round(values.length * step / 60)} min`);
		const latest = values.findLast(v => v !== undefined);
		attr(this.box, "aria-label", `${this.label}: ${latest === undefined ? "no values yet" : `now ${this.words(latest)}, at most ${this.words(top([values]))}`}`);
		if (this.at !== undefined) this.point(this.at);
	}

	// point shows the value at a position.
	point(i) {
		this.at = i;
		this.tip.hidden = i === undefined;
		attr(this.cursor, "d", i === undefined ? "" : `M${(100 * i / (this.values.length - 1)).toFixed(1)} 0V30`);
		if (i === undefined) return;
		const v = this.values[i];
		text(this.tip, `${clock(this.end - 1000 * this.step * (this.values.length - 1 - i))}: ${v === undefined ? "unknown" : this.words(v)}`);
	}
}
