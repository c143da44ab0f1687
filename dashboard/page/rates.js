// Rates of counters between polls, averaged over the latest of them.

const APART = 1; // minimum seconds between two readings: the poll after an action comes too soon for a rate
const RECENT = 4; // readings that a rate spans

// Rates keeps the latest readings of counters by name.
export class Rates {
	readings = new Map();

	// of adds a reading at a time in seconds, and returns the rate per second. A counter that
	// decreases was reset.
	of(name, value, at) {
		let all = this.readings.get(name);
		if (!all) this.readings.set(name, all = []);
		const last = all.at(-1);
		if (last && value < last.value) all.length = 0;
		if (!all.length || at - all.at(-1).at >= APART) {
			all.push({ value, at });
			if (all.length > RECENT) all.shift();
		}
		all.seen = at;
		const first = all[0], latest = all.at(-1);
		return latest.at > first.at ? (latest.value - first.value) / (latest.at - first.at) : 0;
	}

	// forget drops what was not read at a time.
	forget(at) {
		for (const [name, all] of this.readings) if (all.seen < at) this.readings.delete(name);
	}
}
