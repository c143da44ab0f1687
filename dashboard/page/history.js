// What has been, for the charts and the rates: counters are told, and differences shown.

const LENGTH = 90;

// Series is a ring of the latest values.
export class Series {
	values = new Float32Array(LENGTH);
	length = 0;

	push(v) {
		if (this.length === LENGTH) this.values.copyWithin(0, 1);
		else this.length++;
		this.values[this.length - 1] = v;
	}

	get last() { return this.length ? this.values[this.length - 1] : 0; }

	// path returns the line in a box of 100 x 30, and the greatest value at its top.
	path() {
		let top = 0;
		for (let i = 0; i < this.length; i++) top = Math.max(top, this.values[i]);
		let line = "";
		for (let i = 0; i < this.length; i++) {
			const x = 100 * (LENGTH - this.length + i) / (LENGTH - 1), y = 29 - (top ? 27 * this.values[i] / top : 0);
			line += (i ? "L" : "M") + x.toFixed(1) + " " + y.toFixed(1);
		}
		return line;
	}
}

// Meter makes rates of a counter.
export class Meter {
	series = new Series();

	// count takes what the counter says at a time in seconds. One that goes back has
	// begun anew.
	count(n, at) {
		if (this.at !== undefined && at > this.at) this.series.push(Math.max(0, (n < this.n ? n : n - this.n) / (at - this.at)));
		this.n = n;
		this.at = at;
	}

	get rate() { return this.series.last; }
}

// Memory keeps a meter for each name, and forgets those that are not counted any more.
export class Memory {
	meters = new Map();

	count(name, n, at) {
		let m = this.meters.get(name);
		if (!m) this.meters.set(name, m = new Meter());
		m.count(n, at);
		return m;
	}

	forget(at) {
		for (const [name, m] of this.meters) if (m.at < at) this.meters.delete(name);
	}
}
