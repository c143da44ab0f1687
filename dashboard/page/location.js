// What is shown, in the query of the address, so that a link can be sent: the search, the filter, the
// order, the range of the charts, and the backend whose detail is open.

const DEFAULTS = { find: "", problems: "", sort: "", range: "5", open: "" };
const values = { ...DEFAULTS };
for (const [name, v] of new URLSearchParams(location.search)) if (name in values) values[name] = v;

export const get = name => values[name];

export function set(name, v) {
	values[name] = v;
	const query = new URLSearchParams();
	for (const [n, v] of Object.entries(values)) if (v !== DEFAULTS[n]) query.set(n, v);
	const text = query.toString();
	history.replaceState(null, "", text ? `?${text}` : location.pathname);
}
