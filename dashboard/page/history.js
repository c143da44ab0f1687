// The history behind charts and rates: differences of counters, and gauges.

const LENGTH = 90;
const APART = 1; // minimum seconds between two values: the poll after an action comes too soon for a rate
const RECENT = 3; // values in the mean that is shown as a rate

// Series is a ring of the latest values.
export class Series {
	values = new Float32Array(LENGTH);
	length = 0;

	push(v) {
		if (this.length === LENGTH) this.values.copyWithin(0, 1);
		else this.length++;
		this.values[this.length - 1] = v;
	}

	// recent returns the mean of the latest values.
	get recent() {
		const n = Math.min(RECENT, this.length);
		let sum = 0;
		for (let i = this.length - n; i < this.length; i++) sum += this.values[i];
		return n ? sum / n : 0;
	}

	get top() {
		let top = 0;
		for (let i = 0; i < this.length; i++) top = Math.max(top, this.values[i]);
		return top;
	}

	// path returns the line in a box of 100 x 30 with a value at its top.
	path(top) {
		let line = "";
		for (let i = 0; i < this.length; i++) {
			const x = 100 * (LENGTH - this.length + i) / (LENGTH - 1), y = 29 - (top ? 27 * this.values[i] / top : 0);
			line += (i ? "L" : "M") + x.toFixed(1) + " " + y.toFixed(1);
		}
		return line;
	}
}

// Meter computes the rates of a counter.
export class Meter {
	series = new Series();

	// count adds the value of a counter at a time in seconds. A counter that decreases was
	// reset.
	count(n, at) {
		this.seen = at;
		if (at - this.at < APART) return;
		if (this.at !== undefined) this.series.push(Math.max(0, (n < this.n ? n : n - this.n) / (at - this.at)));
		this.n = n;
		this.at = at;
	}

	// note adds the value of a gauge.
	note(v, at) {
		this.seen = at;
		if (at - this.at < APART) return;
		this.series.push(v);
		this.at = at;
	}

	get rate() { return this.series.recent; }
}

// Memory keeps a meter for each name, and drops meters that are no longer counted.
export class Memory {
	meters = new Map();

	meter(name) {
		let m = this.meters.get(name);
		if (!m) this.meters.set(name, m = new Meter());
		return m;
	}

	count(name, n, at) {
		const m = this.meter(name);
		m.count(n, at);
		return m;
	}

	note(name, v, at) {
		const m = this.meter(name);
		m.note(v, at);
		return m;
	}

	forget(at) {
		for (const [name, m] of this.meters) if (m.seen < at) this.meters.delete(name);
	}
}
