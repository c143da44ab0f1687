// The theme: that of the system, or light or dark as chosen, which this browser keeps.

import { text } from "./dom.js";

const THEMES = ["system", "light", "dark"];

function stored() {
	try { return localStorage.getItem("ballast-theme") ?? THEMES[0]; } catch { return THEMES[0]; }
}

export function themeButton(b) {
	let theme = stored();
	const apply = () => {
		if (theme === THEMES[0]) delete document.documentElement.dataset.theme;
		else document.documentElement.dataset.theme = theme;
		text(b, `Theme: ${theme}`);
	};
	b.onclick = () => {
		theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
		try { localStorage.setItem("ballast-theme", theme); } catch { /* private windows keep nothing */ }
		apply();
	};
	apply();
}
