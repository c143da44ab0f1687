// Creating and changing elements. Text is never parsed as markup.

const SVG = "http://www.w3.org/2000/svg";

export function el(name, attributes = {}, ...children) {
	const e = document.createElement(name);
	for (const [k, v] of Object.entries(attributes)) {
		if (v === true) e.setAttribute(k, "");
		else if (v !== false && v !== undefined) e.setAttribute(k, v);
	}
	e.append(...children);
	return e;
}

// text sets the text of an element if it differs.
export function text(e, s) {
	s = String(s);
	if (e.textContent !== s) e.textContent = s;
}

export function attr(e, name, v) {
	if (e.getAttribute(name) !== v) e.setAttribute(name, v);
}

// spark is a small chart of a good value, a bad value, or both at one scale.
export function spark(label, bad, both) {
	const s = document.createElementNS(SVG, "svg");
	for (const [k, v] of Object.entries({ viewBox: "0 0 100 30", preserveAspectRatio: "none", role: "img", "aria-label": label, class: bad ? "spark bad" : "spark" })) s.setAttribute(k, v);
	const area = document.createElementNS(SVG, "path"), line = document.createElementNS(SVG, "path");
	area.setAttribute("class", "area");
	s.append(area, line);
	if (both) {
		const second = document.createElementNS(SVG, "path");
		second.setAttribute("class", "second");
		s.append(second);
	}
	return s;
}

export function draw(chart, series, bad) {
	const top = Math.max(series.top, bad?.top ?? 0), line = series.path(top), [area, stroke, second] = chart.children;
	// No line if the bad value is always 0.
	if (second) attr(second, "d", bad?.top ? bad.path(top) : "");
	if (stroke.getAttribute("d") === line) return;
	stroke.setAttribute("d", line);
	const first = line.match(/^M([\d.]+)/);
	area.setAttribute("d", first ? `${line}L100 30L${first[1]} 30Z` : "");
}

export function number(n) {
	if (n === undefined || n === null) return "–";
	if (n >= 1e6) return (n / 1e6).toFixed(1) + "M";
	if (n >= 1e4) return (n / 1e3).toFixed(1) + "k";
	return n >= 100 || Number.isInteger(n) ? String(Math.round(n)) : n.toFixed(1);
}

export function duration(s) {
	if (s === undefined || s === null) return "–";
	if (s < 0.001) return (s * 1e6).toFixed(0) + " µs";
	if (s < 1) return (s * 1e3).toFixed(s < 0.01 ? 1 : 0) + " ms";
	if (s < 120) return s.toFixed(s < 10 ? 1 : 0) + " s";
	return s < 7200 ? Math.round(s / 60) + " min" : Math.round(s / 3600) + " h";
}
