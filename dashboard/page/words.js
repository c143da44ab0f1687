// Numbers and states in words.

export function number(n) {
	if (n === undefined || n === null || Number.isNaN(n)) return "–";
	if (n >= 1e6) return (n / 1e6).toFixed(1) + "M";
	if (n >= 1e4) return (n / 1e3).toFixed(1) + "k";
	return n >= 100 || Number.isInteger(n) ? String(Math.round(n)) : n.toFixed(1);
}

// percent has one decimal below 10 %.
export function percent(ratio) {
	const p = 100 * ratio;
	return `${p === 0 || p >= 10 ? Math.round(p) : p.toFixed(1)} %`;
}

export function duration(s) {
	if (s === undefined || s === null) return "–";
	if (s === 0) return "0 s";
	if (s < 0.001) return (s * 1e6).toFixed(0) + " µs";
	if (s < 1) return (s * 1e3).toFixed(s < 0.01 ? 1 : 0) + " ms";
	if (s < 120) return s.toFixed(s < 10 ? 1 : 0) + " s";
	if (s < 7200) return Math.round(s / 60) + " min";
	return s < 172800 ? Math.round(s / 3600) + " h" : Math.round(s / 86400) + " days";
}

export const plural = (n, one, many = `${one}s`) => `${number(n)} ${n === 1 ? one : many}`;

// STATES are the states in the order in which they are listed: in words, and their symbols.
export const STATES = {
	up: ["up", "✓"], trial: ["on trial", "?"], ejected: ["ejected", "⏏"], down: ["down", "✕"], drain: ["draining", "↓"], maint: ["in maintenance", "⚙"],
};

export const stateWord = state => STATES[state]?.[0] ?? state;

// stateSentence is such as "3 up, 1 down, 1 draining".
export function stateSentence(states) {
	const parts = Object.keys(STATES).filter(s => states[s]).map(s => `${states[s]} ${STATES[s][0]}`);
	return parts.join(", ") || "no backends";
}

// REASONS are why no backend takes requests.
const REASONS = {
	no_backends: "the pool is empty",
	all_down: "all backends are down",
	all_maintenance: "all backends are draining or in maintenance",
	no_weight: "all weights are 0",
	all_full: "all backends are full",
	queue_full: "the queue is full",
	queue_timeout: "waited too long in the queue",
	client_gone: "the client left the queue",
	retry_budget: "the retry budget is used up",
	session_down: "the backend of the session is down",
};

export const reasonWord = reason => REASONS[reason] ?? reason;

// EVENTS are the events in words; a function gets the data.
const EVENTS = {
	backend_down: d => `down: ${d.reason}`,
	backend_up: () => "up again",
	backend_ejected: d => `ejected for ${d.for}: ${d.reason}`,
	backend_returned: () => "has returned",
	backend_added: d => `added by ${d.by === "registration" ? "its registration" : "an operator"}`,
	backend_removed: d => d.reason ? `removed: ${d.reason}` : `removed by ${d.by === "registration" ? "itself" : "an operator"}`,
	backend_changed: d => String(d.reason).replace(/\b(drain|maint)\b/g, s => stateWord(s)),
	backend_streams_closed: d => `${d.closed} streams closed: ${d.reason}`,
	pool_guard_on: d => `guard holds the last state: ${d.reason}`,
	pool_guard_off: () => "guard ended",
	pool_panic_on: d => `panic, health is ignored: ${d.reason}`,
	pool_panic_off: () => "panic ended",
	fleet_isolated: d => `this instance may be cut off: ${d.reason}`,
	fleet_rejoined: () => "this instance is no longer cut off",
	fleet_joined: d => `${d.instance} has joined the fleet`,
	fleet_left: d => `${d.instance} has left the fleet`,
	fleet_store_lost: d => `store of the fleet lost: ${d.reason}`,
	fleet_store_returned: () => "store of the fleet works again",
	rollout_step: d => `rollout of ${d.group}: now ${d.share ?? "the next step"}`,
	rollout_restarted: d => `rollout of ${d.group} begins anew`,
	rollout_waiting: d => `rollout of ${d.group} waits: ${d.reason}`,
	rollout_paused: d => `rollout of ${d.group} paused`,
	rollout_resumed: d => `rollout of ${d.group} goes on`,
	rollout_promoted: d => `rollout of ${d.group} promoted`,
	rollout_aborted: d => `rollout of ${d.group} aborted: ${d.reason}`,
	fanout_failed: () => "a fan-out failed",
};

export function eventSentence(e) {
	const d = e.data ?? {}, words = EVENTS[e.event]?.(d) ?? `${e.event.replaceAll("_", " ")}${d.reason ? `: ${d.reason}` : ""}`;
	return (d.backend ? `${d.backend}: ` : "") + words;
}

// eventAuthor is who made a change, and where; empty for what happened by itself.
export const eventAuthor = e => [e.data?.who, e.data?.instance && e.event.startsWith("backend_") ? `on ${e.data.instance}` : ""].filter(Boolean).join(" ");

// fails is the number of failed attempts.
export const fails = counts => Object.values(counts.errors ?? {}).reduce((sum, n) => sum + n, 0);

// problem reports whether an operator should look at a backend.
export const problem = b => b.state !== "up" || Boolean(b.reason) || (b.failing ?? 0) >= 0.5;

// serves reports whether a backend takes new requests.
export const serves = b => (b.state === "up" || b.state === "trial" || b.state === "ejected") && b.effective_weight > 0 && !b.unused;

// note is the one line beside the state of a backend.
export function note(b) {
	const parts = [];
	if (b.reason) parts.push(b.reason);
	if (b.why) parts.push(b.why);
	if (b.state !== "up") parts.push(`for ${duration(Math.max(0, (Date.now() - Date.parse(b.since)) / 1000))}`);
	if (b.drain) {
		if (b.drain.requests) parts.push(`${b.drain.requests} in flight`);
		if (b.drain.sessions) parts.push(plural(b.drain.sessions, "session"));
		const fleet = b.drain.fleet;
		if (b.warning) parts.push(b.warning);
		else if (fleet && !fleet.safe) parts.push(`${fleet.waiting?.length ?? 0} of ${fleet.instances} instances are not done`);
		else if (b.drain.safe) parts.push("safe to remove");
	}
	return parts.join(", ");
}
