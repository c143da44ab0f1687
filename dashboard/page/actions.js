// What an operator does: each action can be undone for ten seconds, and one that leaves a pool without
// a backend that takes requests asks first.

import { button, el, openDialog, text } from "./dom.js";
import { backendPath, change, poolPath } from "./source.js";
import { number, plural, serves, stateWord } from "./words.js";

const UNDO = 10; // seconds
const ALL_AT_ONCE = 8; // changes of one action that are sent at the same time

const $ = id => document.getElementById(id);

// say tells screen readers.
export const say = words => text($("said"), words);

// toast shows a message, with a button that undoes what it tells, if there is one, for ten seconds.
function toast(words, { undo, bad, then } = {}) {
	const box = el("div", { class: "toast", role: bad ? "alert" : "status", "data-bad": bad ? "" : undefined }, el("span", {}, words));
	let left = UNDO, timer = 0;
	const end = () => { clearInterval(timer); box.remove(); };
	if (undo) {
		const b = button(`Undo (${left})`, async () => { end(); await undo(); }, { class: "undo" });
		box.append(b);
		timer = setInterval(() => {
			if (--left > 0) return text(b, `Undo (${left})`);
			end();
			then?.();
		}, 1000);
	} else {
		timer = setInterval(end, 1000 * (bad ? 20 : UNDO));
	}
	if (!undo || !then) box.append(button("✕", end, { "aria-label": "Dismiss" }));
	// What is outside an open modal dialog cannot be used.
	($("detail").open ? $("detail") : document.body).append($("toasts"));
	$("toasts").append(box);
}

export class Actions {
	// pools returns the reports of the pools, and ask polls at once.
	constructor(pools, ask) {
		this.pools = pools;
		this.ask = ask;
		this.leaving = new Set(); // backends that are about to be removed
	}

	// confirmed asks, if no backend of the pool would serve without those of the given ids. No other group serves requests
	// of the main one, if that gets any.
	async confirmed(pool, ids, what) {
		const report = this.pools().find(p => p.name === pool), gone = new Set(ids), main = report?.groups?.[0].share > 0;
		const before = report?.backends.filter(b => serves(b) && !(main && b.group)) ?? [], after = before.filter(b => !gone.has(b.id));
		if (!before.length || after.length) return true;
		text($("confirm-title"), `${what}?`);
		text($("confirm-text"), `No backend of ${main ? "the main group of " : ""}${pool} takes requests then: clients get 503.`);
		text($("confirm-yes"), what);
		return await openDialog($("confirm")) === "yes";
	}

	// patch changes backends, some at a time, and returns those that were changed and the errors.
	async patch(pool, changes) {
		const done = [], errors = [], queue = [...changes];
		await Promise.all(Array.from({ length: ALL_AT_ONCE }, async () => {
			for (let c; (c = queue.shift());) {
				try {
					const answer = await change("PATCH", backendPath(pool, c.id), c.body);
					done.push({ ...c, warning: answer.warning });
				} catch (e) {
					errors.push(`${c.id} was not changed: ${e.message}`);
				}
			}
		}));
		return { done, errors };
	}

	// apply changes backends as body says, tells of it, and offers to undo it.
	async apply(pool, backends, body, words) {
		const undo = backends.map(b => ({ id: b.id, body: before(b, body) }));
		const { done, errors } = await this.patch(pool, backends.map(b => ({ id: b.id, body })));
		for (const e of errors.slice(0, 3)) toast(errors.length > 3 ? `${e} (and ${errors.length - 3} more)` : e, { bad: true });
		if (done.length) {
			const who = done.length === 1 ? done[0].id : plural(done.length, "backend"), warning = done.find(d => d.warning)?.warning;
			say(`${who}: ${words}`);
			const changed = new Set(done.map(d => d.id));
			toast(`${who}: ${words}${warning ? `; ${warning}` : ""}`, { bad: Boolean(warning), undo: async () => {
				const back = await this.patch(pool, undo.filter(u => changed.has(u.id)));
				for (const e of back.errors) toast(e, { bad: true });
				say(`${who}: undone`);
				this.ask();
			} });
		}
		this.ask();
	}

	// setState sets the state of backends.
	async setState(pool, backends, state) {
		const some = backends.filter(b => b.admin !== state);
		if (!some.length) return;
		const word = { drain: "Drain", maint: "Take out of service", ready: "Return" }[state], who = some.length === 1 ? some[0].id : plural(some.length, "backend");
		if (state !== "ready" && !await this.confirmed(pool, some.map(b => b.id), `${word} ${who}`)) return;
		await this.apply(pool, some, { state }, state === "ready" ? "returned to service" : stateWord(state));
	}

	// setValue asks for a weight or a limit, and sets it; reset restores what is configured.
	async setValue(pool, b, key) {
		const weight = key === "weight";
		text($("value-title"), `${weight ? "Weight" : "Max. requests"} of ${b.id}`);
		text($("value-label"), weight ? "From 0 (no new requests) to 65535" : "In flight at once; 0 for no limit");
		$("value-input").max = weight ? 65535 : 2147483647;
		$("value-input").value = Math.round(b[key]);
		const answer = await openDialog($("value"));
		if (answer === "configured") return this.reset(pool, b, key);
		if (answer !== "set") return;
		const n = Number($("value-input").value);
		if (weight && n === 0 && !await this.confirmed(pool, [b.id], `Set the weight of ${b.id} to 0`)) return;
		await this.apply(pool, [b], { [key]: n }, `${weight ? "weight" : "max. requests"} ${number(n)}`);
	}

	reset(pool, b, key) {
		return this.apply(pool, [b], { [key]: null }, `${key === "weight" ? "weight" : "max. requests"} as configured`);
	}

	// remove drains a backend, and removes it in ten seconds unless that is undone. Until then nothing
	// is lost; if the page is closed before, the backend stays drained.
	async remove(pool, b) {
		if (!await this.confirmed(pool, [b.id], `Remove ${b.id}`)) return;
		const undo = [{ id: b.id, body: before(b, { state: b.admin }) }];
		const { errors } = await this.patch(pool, [{ id: b.id, body: { state: b.admin === "maint" ? "maint" : "drain" } }]);
		if (errors.length) return void toast(errors[0], { bad: true });
		say(`${b.id} is draining and will be removed`);
		toast(`${b.id} is draining; it is removed in ${UNDO} s`, {
			undo: async () => {
				const back = await this.patch(pool, undo);
				for (const e of back.errors) toast(e, { bad: true });
				say(`${b.id} stays`);
				this.ask();
			},
			then: async () => {
				try {
					await change("DELETE", backendPath(pool, b.id));
					say(`${b.id} was removed`);
				} catch (e) {
					toast(`${b.id} was not removed: ${e.message}`, { bad: true });
				}
				this.ask();
			},
		});
		this.ask();
	}

	// add asks for a backend, and adds it.
	async add(pool) {
		text($("add-title"), `Add a backend to ${pool}`);
		$("add").querySelector("form").reset();
		if (await openDialog($("add")) !== "add") return;
		const body = { address: $("add-address").value.trim() };
		if ($("add-id").value.trim()) body.id = $("add-id").value.trim();
		for (const [id, key] of [["add-weight", "weight"], ["add-max", "max_requests"], ["add-tier", "tier"]]) if ($(id).value !== "") body[key] = Number($(id).value);
		if ($("add-backup").checked) body.backup = true;
		try {
			const b = await change("POST", `${poolPath(pool)}/backends`, body, 30000);
			say(`${b.id} was added`);
			toast(`${b.id} was added to ${pool}`, { undo: async () => {
				try {
					await change("DELETE", backendPath(pool, b.id));
				} catch (e) {
					toast(`${b.id} was not removed: ${e.message}`, { bad: true });
				}
				this.ask();
			} });
		} catch (e) {
			toast(`${body.address} was not added: ${e.message}`, { bad: true });
		}
		this.ask();
	}

	// rollout does what an action says with the rollout of a group in a state: pause, resume, promote or
	// abort. The last two move requests at once, and are confirmed.
	async rollout(pool, group, action, state) {
		if (action === "promote" || action === "abort") {
			text($("confirm-title"), `${action === "abort" ? "Abort" : "Promote"} ${group}?`);
			text($("confirm-text"), action === "abort" ? `${group} of ${pool} gets no requests then, and its sessions move.` : `All requests of ${pool} go to ${group} then.`);
			text($("confirm-yes"), action === "abort" ? "Abort" : "Promote");
			if (await openDialog($("confirm")) !== "yes") return;
		}
		const send = async action => {
			try {
				await change("POST", `${poolPath(pool)}/rollouts/${encodeURIComponent(group)}`, { action });
				return true;
			} catch (e) {
				toast(`${group} was not changed: ${e.message}`, { bad: true });
				return false;
			} finally {
				this.ask();
			}
		};
		const [done, back] = { pause: ["is paused", "resume"], resume: state === "paused" ? ["goes on", "pause"] : ["begins anew"], promote: ["is promoted"], abort: ["is aborted"] }[action];
		if (await send(action)) toast(`The rollout of ${group} ${done}`, back ? { undo: () => send(back) } : {});
	}
}

// before is the change that undoes a change of a backend.
function before(b, body) {
	const undo = {};
	if ("state" in body) undo.state = b.admin;
	if ("weight" in body) undo.weight = b.overrides?.weight ?? null;
	if ("max_requests" in body) undo.max_requests = b.overrides?.max_requests ?? null;
	if (b.for_address?.some(field => field in body)) undo.for = "address";
	return undo;
}

// Menu is the menu of actions of one backend. Arrow keys move in it, and Escape leaves it.
export class Menu {
	constructor() {
		this.box = el("div", { class: "menu", role: "menu", popover: "auto", id: "menu" });
		this.box.onkeydown = e => {
			const items = [...this.box.querySelectorAll("button:not([disabled])")], i = items.indexOf(document.activeElement);
			const to = { ArrowDown: i + 1, ArrowUp: i - 1 + items.length, Home: 0, End: items.length - 1 }[e.key];
			if (to === undefined) return;
			e.preventDefault();
			items[to % items.length].focus();
		};
		this.box.ontoggle = e => { if (e.newState === "closed" && this.box.contains(document.activeElement)) this.anchor?.focus(); };
	}

	// open shows items at a button: label, what it does, and whether it is disabled.
	open(anchor, label, items) {
		this.anchor = anchor;
		(anchor.closest("dialog") ?? document.body).append(this.box);
		this.box.setAttribute("aria-label", label);
		this.box.replaceChildren(...items.map(([name, does, disabled, bad]) => {
			const b = button(name, () => { this.box.hidePopover(); anchor.focus(); does(); }, { role: "menuitem", disabled: Boolean(disabled), class: bad ? "danger" : undefined });
			return b;
		}));
		this.box.showPopover();
		const at = anchor.getBoundingClientRect(), own = this.box.getBoundingClientRect();
		this.box.style.left = `${Math.max(8, Math.min(at.right - own.width, innerWidth - own.width - 8))}px`;
		this.box.style.top = `${at.bottom + own.height + 8 > innerHeight ? Math.max(8, at.top - own.height - 4) : at.bottom + 4}px`;
		this.box.querySelector("button:not([disabled])")?.focus();
	}
}
