// What the page asks Caddy for: the pools, their history, and events.

const PATIENCE = 10000;

export async function get(path) {
	const res = await send(path, { headers: { Accept: "application/json" }, cache: "no-store" }, PATIENCE);
	if (!res.ok) throw new Error((await res.json().catch(() => ({}))).error ?? `status ${res.status}`);
	return res.json();
}

// send sends a request. Browsers differ in the words for a Caddy that is gone.
async function send(path, options, patience) {
	try {
		return await fetch(path, { ...options, signal: AbortSignal.timeout(patience) });
	} catch (e) {
		throw new Error(e.name === "TimeoutError" ? "no answer in time" : "no connection");
	}
}

// change sends a change, and returns the answer.
export async function change(method, path, body, patience = PATIENCE) {
	const res = await send(path, {
		method, headers: { "Ballast-Client": "dashboard", ...body && { "Content-Type": "application/json" } }, body: body && JSON.stringify(body),
	}, patience);
	const answer = await res.json().catch(() => ({}));
	if (!res.ok) throw new Error(answer.error ?? `status ${res.status}`);
	return answer;
}

export const poolPath = pool => `pools/${encodeURIComponent(pool)}`;
export const backendPath = (pool, id) => `${poolPath(pool)}/backends/${encodeURIComponent(id)}`;

const FIGURES = ["requests", "errors", "refused", "in_flight", "p95", "waiting", "up"];
const LENGTH = 180;

// Histories has the values of pools and backends by step. It asks only for what it lacks.
export class Histories {
	step = 5;
	tick = 0;
	at = 0; // of the latest value, as of Date.now()
	version = 0; // of all values
	series = new Map();

	// of returns the values of a figure of the last n steps, undefined where unknown.
	of(key, figure, n) {
		const s = this.series.get(key), values = new Array(n).fill(undefined);
		if (!s) return values;
		for (let i = 0; i < n; i++) values[i] = s.values[figure]?.[this.tick - n + 1 + i - s.from] ?? undefined;
		return values;
	}

	// due reports whether there are new values.
	get due() { return Date.now() - this.at >= 1000 * this.step; }

	// update fetches new values of all pools, and of the backends of the given ids by pool.
	async update(shown) {
		const before = this.tick;
		this.add(await get(`history?after=${this.tick}`));
		if (this.tick < before) { // Caddy has been restarted
			this.series.clear();
			this.tick = 0;
			this.add(await get("history"));
		}
		for (const [pool, ids] of shown) {
			const fresh = ids.filter(id => !this.series.has(`${pool} ${id}`)), known = ids.filter(id => this.series.has(`${pool} ${id}`));
			for (const [some, after] of [[fresh, 0], [known, before]]) {
				if (!some.length || some === known && before === this.tick) continue;
				const query = new URLSearchParams([["pool", pool], ["after", after], ...some.slice(0, 200).map(id => ["backend", id])]);
				this.add(await get(`history?${query}`), true);
			}
		}
		const keep = new Set();
		for (const [pool, ids] of shown) for (const id of ids) keep.add(`${pool} ${id}`);
		for (const key of this.series.keys()) if (key.includes(" ") && !keep.has(key)) this.series.delete(key);
	}

	add(answer, backends = false) {
		if (!backends) {
			this.step = answer.step_seconds;
			this.tick = answer.tick;
			this.at = Date.parse(answer.at);
		}
		for (const p of answer.pools) {
			if (!backends) this.append(p.pool, p);
			for (const b of p.backends ?? []) this.append(`${p.pool} ${b.id}`, b);
		}
	}

	append(key, figures) {
		this.version++;
		let s = this.series.get(key);
		if (!s || figures.from > s.to + 1) this.series.set(key, s = { from: figures.from, to: figures.from - 1, values: {} });
		const skip = s.to + 1 - figures.from; // already known
		for (const f of FIGURES) if (figures[f]) s.values[f] = [...s.values[f] ?? [], ...figures[f].slice(skip)];
		s.to = Math.max(s.to, figures.from + figures.requests.length - 1);
		const over = s.to - s.from + 1 - LENGTH;
		if (over > 0) {
			for (const f of FIGURES) s.values[f]?.splice(0, over);
			s.from += over;
		}
	}
}

// Events has the events that Caddy keeps, the latest first.
export class Events {
	all = [];
	sequence = 0;
	loaded = false;

	// update fetches what has happened since, and returns it, oldest first; nothing the first time.
	async update() {
		const answer = await get(`events?last=500&after=${this.sequence}`);
		if (answer.sequence < this.sequence) { // Caddy has been restarted
			this.sequence = 0;
			this.all = [];
			return this.update();
		}
		const first = !this.loaded;
		this.loaded = true;
		this.sequence = answer.sequence;
		this.all = [...answer.events.toReversed(), ...this.all].slice(0, 500);
		return first ? [] : answer.events;
	}
}
