// Creating and changing elements. Text is never parsed as markup.

export function el(name, attributes = {}, ...children) {
	const e = document.createElement(name);
	for (const [k, v] of Object.entries(attributes)) {
		if (v === true) e.setAttribute(k, "");
		else if (v !== false && v !== undefined) e.setAttribute(k, v);
	}
	e.append(...children);
	return e;
}

// button creates a button with a text and what a click does.
export function button(label, does, attributes = {}) {
	const b = el("button", { type: "button", ...attributes }, label);
	b.onclick = does;
	return b;
}

// text sets the text of an element if it differs.
export function text(e, s) {
	s = String(s);
	if (e.textContent !== s) e.textContent = s;
}

// attr sets an attribute if it differs, or removes it for undefined.
export function attr(e, name, v) {
	if (v === undefined) e.removeAttribute(name);
	else if (e.getAttribute(name) !== v) e.setAttribute(name, v);
}

// hide hides or shows an element.
export function hide(e, hidden) {
	if (e.hidden !== hidden) e.hidden = hidden;
}

// place makes e the child of parent at position i, and keeps the focus in it.
export function place(parent, e, i) {
	if (parent.children[i] === e) return;
	const focused = e.contains(document.activeElement) ? document.activeElement : null;
	parent.insertBefore(e, parent.children[i] ?? null);
	focused?.focus({ preventScroll: true });
}

// openDialog shows a modal dialog, and returns a promise of the value of the button that closed it.
export function openDialog(dialog) {
	dialog.returnValue = "";
	dialog.showModal();
	return new Promise(done => dialog.addEventListener("close", () => done(dialog.returnValue), { once: true }));
}
