// Lists of events, the latest first.

import { button, el, hide, text } from "./dom.js";
import { eventAuthor, eventSentence, plural } from "./words.js";

const FEW = 5;

const time = at => {
	const d = new Date(at), today = new Date().toDateString() === d.toDateString();
	return today ? d.toLocaleTimeString() : d.toLocaleString();
};

function line(e) {
	const who = eventAuthor(e), words = eventSentence(e);
	return el("li", { "data-level": e.level, title: who ? `${words} (${who})` : words }, el("time", { datetime: e.at }, time(e.at)), el("span", { class: "what" }, words), el("span", { class: "soft who" }, who));
}

// EventList shows the latest events in a list, and more of them if the user wants.
export class EventList {
	constructor(list, empty) {
		this.list = list;
		this.empty = el("li", { class: "empty" }, empty);
		this.more = button("Show all", () => { this.open = !this.open; this.render(); }, { class: "link", "aria-expanded": "false", hidden: true });
	}

	show(all) {
		const latest = `${all[0]?.sequence} ${all.length}`;
		if (latest === this.latest) return;
		this.latest = latest;
		this.all = all;
		this.render();
	}

	render() {
		const some = this.open ? this.all : this.all.slice(0, FEW);
		this.list.replaceChildren(...(some.length ? some.map(line) : [this.empty]));
		hide(this.more, this.all.length <= FEW);
		text(this.more, this.open ? "Show fewer" : `Show all ${plural(this.all.length, "event")}`);
		this.more.setAttribute("aria-expanded", String(Boolean(this.open)));
	}
}
