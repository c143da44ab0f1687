// The dashboard in a real browser. TestDashboard runs it, with the addresses in its
// environment, and does what it is asked for on its standard input: this program writes
// a line such as "kill", and waits for "done".

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const { CHROMIUM, PAGE, STATUS, MANY, SHOTS } = process.env;
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const ask = async what => { console.log(what); await lines.next(); };

let failures = 0;
const check = (ok, what) => { if (!ok) { failures++; console.log(`FAIL ${what}`); } };

// --disable-dev-shm-usage: containers have little of it.
const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--disable-dev-shm-usage"] });

async function open(url, options = {}) {
	const context = await browser.newContext({ viewport: { width: 1360, height: 900 }, bypassCSP: options.bypassCSP ?? false, ...options });
	const page = await context.newPage();
	page.setDefaultTimeout(20000);
	page.on("pageerror", e => check(false, `${url}: ${e.message}`));
	page.on("console", m => check(m.type() !== "error" || /Failed to load resource|ERR_CONNECTION/.test(m.text()), `${url}: ${m.text()}`));
	page.on("request", r => check(r.url().startsWith(new URL(url).origin) || r.url().startsWith("data:"), `asks ${r.url()}, which is somewhere else`));
	await page.goto(url);
	await page.locator("#live[data-state=live]").waitFor();
	return page;
}

const row = (page, id) => page.locator(`tr:has(.id:text-is("${id}"))`);
const is = (page, id, state) => row(page, id).locator(`.state[data-state=${state}]`).waitFor();
const shot = async (page, name, fullPage = false) => {
	if (!SHOTS) return;
	await page.waitForTimeout(25000); // for the picture alone: charts begin empty
	await page.screenshot({ path: `${SHOTS}/${name}.png`, fullPage });
};

async function accessible(url, options, what) {
	const page = await open(url, { ...options, bypassCSP: true });
	await page.evaluate(axe);
	const { violations } = await page.evaluate(() => axe.run());
	for (const v of violations.filter(v => ["serious", "critical"].includes(v.impact))) check(false, `${what}: ${v.id}, ${v.help}: ${v.nodes.map(n => n.target).join(" ")}`);
	await page.context().close();
}

// It loads, and is live: a backend dies, and the page says so, in words too.
const page = await open(PAGE);
check(await page.title() === "Ballast", "the title");
for (const id of ["one", "two", "three"]) await is(page, id, "up");
await page.waitForFunction(() => [...document.querySelectorAll(".spark path:nth-child(2)")].some(p => p.getAttribute("d")?.includes("L")));
await ask("kill");
await is(page, "three", "down");
await page.locator("#said", { hasText: "three of web is down" }).waitFor();
await page.locator("#events li", { hasText: "three of web is down" }).waitFor();
await page.locator("#troubled").check();
await row(page, "one").waitFor({ state: "detached" });
check(await row(page, "three").count() === 1, "a backend that is down is hidden with those that are well");
await page.locator("#troubled").uncheck();
await ask("revive");
await is(page, "three", "up");

// Drained by keyboard; the focus stays where it is.
const drain = row(page, "two").getByRole("button", { name: "Drain two" });
await page.locator("#find").focus();
for (let n = 0; n < 100 && !(await drain.evaluate(b => b === document.activeElement)); n++) await page.keyboard.press("Tab");
check(await drain.evaluate(b => b === document.activeElement), "Drain cannot be reached by Tab");
await page.keyboard.press("Enter");
await is(page, "two", "drain");
check(await drain.evaluate(b => b === document.activeElement), "the focus was lost");
check(await drain.getAttribute("aria-disabled") === "true", "Drain of one that is drained");
await ask("drained");
await row(page, "two").getByRole("button", { name: "Ready two" }).press("Enter");
await is(page, "two", "up");

// Weighed in a dialog, which Escape leaves as it was.
const weight = row(page, "one").getByRole("button", { name: "Weight one" });
await weight.click();
await page.keyboard.press("Escape");
await weight.click();
await page.locator("#weigh-value").fill("7");
await page.keyboard.press("Enter");
await row(page, "one").locator('td[data-label="Weight"]', { hasText: "7" }).waitFor();
await ask("weighed");
await row(page, "three").getByRole("button", { name: "Maint three" }).click();
await is(page, "three", "maint");
await row(page, "three").getByRole("button", { name: "Ready three" }).click();
await is(page, "three", "up");
await shot(page, "dashboard", true);

// Sorted rows stay where they are while somebody is at them, and move then.
const first = id => page.locator(`main tbody tr:first-child .id:text-is("${id}")`).waitFor();
const sortBy = page.locator("main thead button", { hasText: "Weight" });
await sortBy.click();
await first("one");
await weight.focus();
await page.keyboard.press("Enter");
await page.locator("#weigh-value").fill("0");
await page.keyboard.press("Enter");
await row(page, "one").locator('td[data-label="Weight"]', { hasText: /^0/ }).waitFor();
await first("one");
check(await weight.evaluate(b => b === document.activeElement), "the dialog does not give the focus back");
await page.mouse.move(1, 1);
await page.locator("#find").focus();
await first("two");
await sortBy.click();
await sortBy.click();
await weight.click();
await page.locator("#weigh").getByRole("button", { name: "As configured" }).click();
await row(page, "one").locator('td[data-label="Weight"]', { hasText: /^1/ }).waitFor();

// What has markup in its name is text.
check(await page.locator("main img, main b").count() === 0, "a name is markup");
await page.context().close();

// A site of one's own shows the same, and changes nothing.
const status = await open(STATUS);
await is(status, "one", "up");
check(await status.locator("main .actions").count() === 0, "pool_status has buttons that change something");
await status.context().close();

// A phone: nothing is wider than it, and buttons are large enough.
const phone = await open(PAGE, { viewport: { width: 390, height: 844 }, hasTouch: true });
await is(phone, "one", "up");
const wide = await phone.evaluate(() => document.documentElement.scrollWidth <= innerWidth ? "" :
	[...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > innerWidth).map(e => `${e.tagName}.${e.getAttribute("class")}`).slice(0, 8).join(" "));
check(!wide, `wider than a phone: ${wide}`);
for (const b of await phone.locator("main .actions button").all()) {
	const box = await b.boundingBox();
	check(box.height >= 44, `a button of ${box.height}px`);
}
await shot(phone, "dashboard-phone");
await phone.context().close();

const dark = await open(PAGE, { colorScheme: "dark" });
await is(dark, "one", "up");
const [r, g, b] = await dark.evaluate(() => getComputedStyle(document.documentElement).backgroundColor.match(/\d+/g).map(Number));
check(r + g + b < 150, "dark mode is light");
await shot(dark, "dashboard-dark", true);
await dark.context().close();

// A thousand backends: updates do not hold the page up, and all can be found.
const many = await open(MANY);
await many.locator("main tbody tr").first().waitFor();
check(await many.locator("main tbody tr").count() === 50, "there are rows for more than a page of the table");
const longest = await many.evaluate(() => new Promise(done => {
	let worst = 0, frames = 0, last = performance.now();
	const frame = now => { worst = Math.max(worst, now - last); last = now; if (++frames < 300) requestAnimationFrame(frame); else done(worst); };
	requestAnimationFrame(frame);
}));
console.log(`longest frame with 1,000 backends: ${Math.round(longest)} ms`);
await many.locator("#find").fill("127.1.3.250");
await row(many, "127.1.3.250:80").waitFor();
await shot(many, "dashboard-many");
await many.context().close();

await accessible(PAGE, {}, "light");
await accessible(PAGE, { colorScheme: "dark" }, "dark");
await accessible(PAGE, { viewport: { width: 390, height: 844 } }, "phone");

await browser.close();
console.log(failures ? "failed" : "passed");
process.exit(failures ? 1 : 0);
