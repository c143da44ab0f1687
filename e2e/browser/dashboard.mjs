// The dashboard in a real browser. TestDashboard runs it, with the addresses in its
// environment, and does what it is asked for on its standard input: this program writes
// a line such as "kill", and waits for "done".

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const { CHROMIUM, PAGE, STATUS, MANY, FLEET, ANOTHER, SHOTS } = process.env;
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const ask = async what => { console.log(what); await lines.next(); };

let failures = 0;
const check = (ok, what) => { if (!ok) { failures++; console.log(`FAIL ${what}`); } };

// --disable-dev-shm-usage: containers have little of it.
const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--disable-dev-shm-usage"] });

async function open(url, options = {}) {
	const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, bypassCSP: options.bypassCSP ?? false, ...options });
	const page = await context.newPage();
	page.setDefaultTimeout(30000);
	page.on("pageerror", e => check(false, `${url}: ${e.message}`));
	page.on("console", m => check(m.type() !== "error" || /Failed to load resource|ERR_CONNECTION|ERR_FAILED/.test(m.text()), `${url}: ${m.text()}`));
	page.on("request", r => check(r.url().startsWith(new URL(url).origin) || r.url().startsWith("data:"), `asks ${r.url()}, which is somewhere else`));
	await page.goto(url);
	await page.locator("#live[data-state=live]").waitFor();
	await page.locator("main tr.backend").first().waitFor();
	return page;
}

const row = (page, id) => page.locator(`tr.backend:has(.id:text-is("${id}"))`);
const is = (page, id, state) => row(page, id).locator(`.state[data-state=${state}]`).waitFor();
const menu = async (page, id, item) => {
	await row(page, id).locator(".more").click();
	await page.locator("#menu").getByRole("menuitem", { name: item, exact: true }).click();
};
const undo = page => page.locator(".toast .undo").last().click();
const focused = locator => locator.evaluate(e => e === document.activeElement);
const shot = async (page, name, fullPage = false) => {
	if (!SHOTS) return;
	await page.screenshot({ path: `${SHOTS}/${name}.png`, fullPage });
};

async function fits(page, width) {
	await page.setViewportSize({ width, height: 900 });
	await page.waitForTimeout(100);
	const wide = await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth ? "" :
		[...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > innerWidth).map(e => `${e.tagName}.${e.getAttribute("class")}`).slice(0, 8).join(" "));
	check(!wide, `wider than ${width}: ${wide}`);
}

async function accessible(page, what) {
	await page.evaluate(axe);
	const { violations } = await page.evaluate(() => axe.run());
	for (const v of violations.filter(v => ["serious", "critical"].includes(v.impact))) check(false, `${what}: ${v.id}, ${v.help}: ${v.nodes.map(n => n.target).join(" ")}`);
}

// It loads, and is live: a backend dies, and the page says so, also in its title and in words. What the
// pool was before is there from the beginning, and what is filtered is in the address.
const page = await open(PAGE);
check(/^Ballast – /.test(await page.title()), `the title is ${await page.title()}`);
for (const id of ["one", "two", "three"]) await is(page, id, "up");
await page.waitForFunction(() => document.querySelector(".tile .plot path:nth-child(3)")?.getAttribute("d")?.includes("L"));
await ask("kill");
await is(page, "three", "down");
await page.locator("#said", { hasText: "three: down" }).waitFor({ state: "attached" });
await page.locator(".pool .events li[data-level=warn]", { hasText: "three: down" }).waitFor();
await page.waitForFunction(() => document.title.startsWith("(1 down)"));
await page.locator("#problems").check();
await row(page, "one").waitFor({ state: "detached" });
await page.reload();
await row(page, "three").waitFor();
check(await row(page, "one").count() === 0, "the filter is not in the address");
await page.locator("#problems").uncheck();
await ask("revive");
await is(page, "three", "up");

// Drained by keyboard, and undone; the focus stays where it is.
const actions = row(page, "two").locator(".more");
await page.locator("#find").focus();
for (let n = 0; n < 100 && !await focused(actions); n++) await page.keyboard.press("Tab");
check(await focused(actions), "the actions cannot be reached by Tab");
await page.keyboard.press("Enter");
check(await focused(page.locator("#menu button").first()), "the menu does not take the focus");
await page.keyboard.press("ArrowDown");
await page.keyboard.press("ArrowUp");
await page.keyboard.press("Enter");
await is(page, "two", "drain");
check(await focused(actions), "the menu does not give the focus back");
await ask("drained");
await row(page, "two").locator(".note", { hasText: "safe to remove" }).waitFor();
await shot(page, "drain");
await undo(page);
await is(page, "two", "up");

// Weighed in a dialog, which Escape leaves as it was, and reset.
await menu(page, "one", "Weight…");
await page.keyboard.press("Escape");
await menu(page, "one", "Weight…");
await page.locator("#value-input").fill("7");
await page.keyboard.press("Enter");
await row(page, "one").locator(".c-weight[data-changed]", { hasText: "7" }).waitFor();
await ask("weighed");

// Sorted rows stay where they are while somebody is at them, and move then.
const first = id => page.locator(`main tr.backend:first-child .id:text-is("${id}")`).waitFor();
await page.locator("main thead button", { hasText: "Weight" }).click();
await first("one");
check(page.url().includes("sort=weight"), "the order is not in the address");
await row(page, "one").locator(".more").focus();
await menu(page, "one", "Weight…");
await page.locator("#value-input").fill("0");
await page.keyboard.press("Enter");
await row(page, "one").locator(".note", { hasText: "its weight is 0" }).waitFor();
await first("one");
await page.mouse.move(1, 1);
await page.locator("#find").focus();
await first("two");
await menu(page, "one", "Reset weight");
await row(page, "one").locator(".c-weight:not([data-changed])").waitFor();

// What leaves the pool without a backend is asked about. An outage tells of the 503s, and is undone.
await page.locator("main thead input").check();
const bulk = page.locator(".bulk").getByRole("button", { name: "Maintenance" });
await bulk.click();
await page.locator("#confirm-text", { hasText: "No backend of web takes requests then" }).waitFor();
await page.locator("#confirm-no").click();
check(await row(page, "one").locator(".state[data-state=up]").count() === 1, "it was done though it was cancelled");
await bulk.click();
await page.locator("#confirm-yes").click();
for (const id of ["one", "two", "three"]) await is(page, id, "maint");
await page.locator(".trouble", { hasText: "requests per second get 503" }).waitFor();
await page.waitForFunction(() => document.title.startsWith("(web out)"));
await shot(page, "outage");
await undo(page);
for (const id of ["one", "two", "three"]) await is(page, id, "up");
await page.locator(".trouble").waitFor({ state: "hidden", timeout: 60000 });
await page.locator(".bulk").getByRole("button", { name: "Clear" }).click();

// Added, and removed, which is undone in time and then is not.
await page.locator(".pool .add").click();
await page.locator("#add-address").fill(ANOTHER);
await page.locator("#add-id").fill("four");
await page.keyboard.press("Enter");
await is(page, "four", "up");
await menu(page, "four", "Remove");
await is(page, "four", "drain");
await undo(page);
await is(page, "four", "up");
await menu(page, "four", "Remove");
await row(page, "four").waitFor({ state: "detached" });
await page.locator(".pool .events li", { hasText: "four: removed by an operator" }).filter({ hasText: "(dashboard)" }).waitFor();

// The detail, with an explanation; the link leads to it, and Escape leaves it.
await row(page, "three").locator(".id").click();
const detail = page.locator("#detail");
await detail.locator("dd", { hasText: "note: <img src=x><b>" }).waitFor();
await detail.getByRole("button", { name: "Explain" }).click();
await detail.locator(".explain th", { hasText: "three" }).waitFor();
await detail.locator("td", { hasText: "passed, " }).waitFor();
check(page.url().includes("open=web%2Fthree"), "the detail is not in the address");
await detail.locator(".chart").first().focus();
await page.keyboard.press("ArrowLeft");
await detail.locator(".tip", { hasText: ":" }).first().waitFor();
await shot(page, "detail");
await page.keyboard.press("Escape");
await detail.waitFor({ state: "hidden" });
check(await page.locator("main img, main b").count() === 0, "a name is markup");

// A Caddy that is gone is told, and so is its return.
await page.route("**/pools", route => route.abort());
await page.locator("#banner", { hasText: /has not answered since .* \(no connection\)/ }).waitFor();
check((await page.title()).startsWith("(no answer)"), `the title is ${await page.title()}`);
check(await page.locator("main").evaluate(e => getComputedStyle(e).opacity) < 0.6, "old figures look as new ones");
await shot(page, "stale");
await page.unroute("**/pools");
await page.locator("#banner").waitFor({ state: "hidden" });

// At each width nothing is wider than the window, actions are in it, and a row is one line.
for (const width of [360, 768, 1024, 1440, 2560]) {
	await fits(page, width);
	const button = await row(page, "one").locator(".more").boundingBox(), line = await row(page, "one").boundingBox();
	check(button && button.x >= 0 && button.x + button.width <= width, `the actions are not in a window of ${width}`);
	check(width === 360 ? button.height >= 44 : line.height <= 37, `at ${width} a row is ${line.height} high, and its button ${button.height}`);
}
await page.context().close();

// A site of one's own shows the same, and changes nothing.
const status = await open(STATUS);
await is(status, "one", "up");
check(await status.locator("main .more, main .add, main input").count() === 0, "pool_status has what changes something");
await row(status, "one").locator(".id").click();
await status.locator("#detail dd", { hasText: "configuration" }).waitFor();
check(await status.locator("#detail .explain, #detail .more").count() === 0, "pool_status explains, or changes something");
await status.context().close();

// A rollout is paused, promoted and aborted; the latter two are confirmed. The fleet has both instances.
const shop = await open(FLEET, { bypassCSP: true });
const canary = shop.locator(".group", { has: shop.locator(".id", { hasText: "canary" }) });
const act = name => canary.getByRole("button", { name: `${name} the rollout of canary` }).click();
const stands = state => canary.locator(".about", { hasText: state }).waitFor();
await stands("running, step 1 of 3");
await menu(shop, "old", "Maintenance");
await shop.locator("#confirm-text", { hasText: "No backend of the main group of shop takes requests then" }).waitFor();
await shop.locator("#confirm-yes").click();
await shop.locator(".trouble", { hasText: "No backend of the main group takes requests" }).waitFor();
await undo(shop);
await shop.locator(".trouble", { hasText: "No backend of the main group" }).waitFor({ state: "hidden" });
await act("Pause");
await stands("paused, step 1 of 3");
await undo(shop);
await stands("running");
await act("Promote");
await shop.locator("#confirm-text", { hasText: "All requests of shop go to canary then" }).waitFor();
await shop.locator("#confirm-no").click();
await stands("running");
await act("Promote");
await shop.locator("#confirm-yes").click();
await stands("promoted");
await canary.locator("span", { hasText: "100 % of the requests" }).waitFor();
await act("Abort");
await shop.locator("#confirm-text", { hasText: "canary of shop gets no requests then" }).waitFor();
await shop.locator("#confirm-yes").click();
await stands("aborted");
await shop.locator(".pool .events li", { hasText: "rollout of canary aborted: an operator has aborted it" }).first().waitFor();
await act("Resume");
await stands("running, step 1 of 3");
await shop.locator("#fleet-note", { hasText: "2 instances, store connected" }).waitFor();
for (const name of ["north", "south (this one)", "All instances"]) await shop.locator("#fleet th", { hasText: name }).waitFor();
await shop.locator("#instances tr", { hasText: "north" }).locator("td", { hasText: "all backends up" }).waitFor();
await accessible(shop, "rollout and fleet");
const middle = shop.locator(".pool", { has: shop.locator("h2", { hasText: "middle" }) });
await middle.getByRole("button", { name: "Next" }).click();
await middle.locator(".pager", { hasText: "51 to 100 of 200" }).waitFor();
check(await middle.locator("tr.backend").count() === 50, "there are rows for more than a page of the table of 200");
for (const width of [360, 768, 1024, 1440, 2560]) {
	await fits(shop, width);
	await shot(shop, `fleet-${width}`);
}
await shop.context().close();

// The theme is that of the system, or the chosen one.
const dark = await open(PAGE, { colorScheme: "dark", bypassCSP: true });
const brightness = () => dark.evaluate(() => getComputedStyle(document.documentElement).backgroundColor.match(/\d+/g).map(Number).reduce((a, b) => a + b));
check(await brightness() < 150, "dark mode is light");
await accessible(dark, "dark");
await row(dark, "one").locator(".id").click();
await accessible(dark, "the detail");
await dark.keyboard.press("Escape");
await dark.locator("#theme").click();
check(await brightness() > 600, "the light theme is dark");
await accessible(dark, "light");
await dark.setViewportSize({ width: 390, height: 844 });
await accessible(dark, "phone");
await dark.context().close();

// A thousand backends: all work of the page's thread for an update takes less than 50 ms of CPU time, so
// no frame of it can take longer, whatever else this machine does. All can be found.
const many = await open(MANY);
check(await many.locator("main tr.backend").count() === 50, "there are rows for more than a page of the table");
const devtools = await many.context().newCDPSession(many);
await devtools.send("Performance.enable", { timeDomain: "threadTicks" });
const busy = async () => 1000 * (await devtools.send("Performance.getMetrics")).metrics.find(m => m.name === "TaskDuration").value;
const polled = () => many.waitForResponse(r => r.url().endsWith("/pools"));
await polled();
const before = await busy(), updates = 4;
for (let n = 0; n < updates; n++) await polled();
const each = (await busy() - before) / updates;
console.log(`CPU time of an update with 1,000 backends: ${each.toFixed(1)} ms`);
check(each <= 50, `an update takes ${each.toFixed(1)} ms`);
await many.locator("#find").fill("127.1.3.250");
await row(many, "127.1.3.250:80").waitFor();
for (const width of [360, 1024]) await fits(many, width);
await many.context().close();

await browser.close();
console.log(failures ? "failed" : "passed");
process.exit(failures ? 1 : 0);
