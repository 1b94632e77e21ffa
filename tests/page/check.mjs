// Looks at the page as people do: in a browser, every view in both themes and two widths, by mouse and by keys.
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { faults } from "./faults.mjs";

const WIDTHS = { wide: { width: 1280, height: 900 }, narrow: { width: 390, height: 844 } };
const MAX_HEIGHT = 2_400;
const THEMES = ["light", "dark"];

/** Runs every check; `gates` are `{ full, empty, failing, crowd }`, see run.mjs. */
export async function check(browser, gates, pictures) {
  await mkdir(pictures, { recursive: true });
  const run = async (claims) => {
    for (const [name, claim] of claims) {
      const began = Date.now();
      try {
        await claim({ browser, gates, pictures });
      } catch (error) {
        error.message = `${name}: ${error.message}`;
        throw error;
      }
      console.log(`ok   ${name.replaceAll("_", " ")} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
    }
  };
  await run(Object.entries(LOOKS));
  // They wait more than they work, so they do it side by side.
  const reading = Object.entries(READING);
  const half = Math.ceil(reading.length / 2);
  await Promise.all([run(reading.slice(0, half)), run(reading.slice(half)), run(Object.entries(DISTURBING))]);
}

/** Opens a page that fails the check at any error in its console and any request to elsewhere. */
async function opened(browser, gate, { theme = "light", size = "wide", signIn = true } = {}) {
  const context = await browser.newContext({ viewport: WIDTHS[size], colorScheme: theme, timezoneId: "Europe/Vienna", locale: "en-GB" });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const amiss = [];
  page.on("console", (message) => { if (["error", "warning"].includes(message.type())) amiss.push(message.text()); });
  page.on("pageerror", (error) => amiss.push(String(error)));
  page.on("request", (request) => { if (!request.url().startsWith(gate.url)) amiss.push(`a request to ${request.url()}`); });
  // What the browser itself says of an answer that the page has asked for and tells in its own words.
  const expected = /^Failed to load resource: .*(401|429|404|400|ERR_)/u;
  const close = async () => {
    await context.close();
    assert.deepEqual(amiss.filter((text) => !expected.test(text)), []);
  };
  await page.goto(gate.url);
  await page.locator("#token").waitFor();
  if (signIn) await login(page, gate.token);
  return { page, close };
}

async function login(page, token) {
  await page.locator("#token").fill(token);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.locator("#token").waitFor({ state: "detached" });
}

/** Goes to a view and waits until it shows what it has. */
async function go(page, hash) {
  await page.evaluate((wanted) => new Promise((done) => {
    if (location.hash === wanted) done();
    // The page's own listener comes first.
    addEventListener("hashchange", () => done(), { once: true });
    location.hash = wanted;
  }), hash);
  await settled(page);
}

async function settled(page) {
  // The event of a changed address comes a little after the change.
  await page.waitForTimeout(50);
  await page.locator("main:not([aria-busy]) h1").first().waitFor({ state: "attached" });
  await page.waitForFunction(() => !document.body.textContent.includes("Asking the gate …"));
}

/** Takes a picture of every view of every gate, and names what is wrong with them. */
async function looks(browser, gates, pictures, { theme, size }) {
  const found = [];
  for (const [scene, gate] of Object.entries(gates)) {
    const { page, close } = await opened(browser, gate, { theme, size, signIn: false });
    const look = async (name) => {
      // As much as shows how it goes on; 200 cards are longer than any picture.
      const height = Math.min(MAX_HEIGHT, await page.evaluate(() => document.documentElement.scrollHeight));
      await page.screenshot({ path: join(pictures, `${name}-${theme}-${size}.png`), fullPage: true, clip: { x: 0, y: 0, width: WIDTHS[size].width, height } });
      for (const fault of await page.evaluate(faults)) found.push(`${name}, ${theme}, ${size}: ${fault}`);
    };
    if (scene === "full") await look("login");
    await login(page, gate.token);
    for (const [name, hash] of Object.entries(gate.views)) {
      await go(page, hash);
      await look(`${scene}-${name}`);
    }
    if (scene === "full") {
      await page.keyboard.press("?");
      await look("keys");
    }
    await close();
  }
  return found;
}

const text = (page, selector = "main") => page.locator(selector).first().innerText();

const LOOKS = {
  async every_view_fits_both_themes_and_widths({ browser, gates, pictures }) {
    const sorts = THEMES.flatMap((theme) => Object.keys(WIDTHS).map((size) => ({ theme, size })));
    const found = await Promise.all(sorts.map((sort) => looks(browser, gates, pictures, sort)));
    assert.deepEqual(found.flat(), []);
  },
};

/** What leaves the gates as they are. */
const READING = {
  async a_wrong_token_is_told_and_the_right_one_let_in({ browser, gates }) {
    const { page, close } = await opened(browser, gates.full, { signIn: false });
    await page.locator("#token").fill("guess");
    await page.keyboard.press("Enter");
    await page.getByText("This is not the token.").waitFor();
    await login(page, gates.full.token);
    await page.getByRole("heading", { name: /^Sessions/u }).waitFor();
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.locator("#token").waitFor();
    await page.reload();
    await page.locator("#token").waitFor();
    await close();
  },

  async a_hostile_user_name_is_text({ browser, gates }) {
    const { page, close } = await opened(browser, gates.full);
    for (const name of ["live", "record", "story"]) {
      await go(page, gates.full.views[name]);
      assert.ok((await text(page)).includes(gates.full.hostile), name);
      assert.equal(await page.locator("main img").count(), 0);
      assert.doesNotMatch(await page.title(), /owned/u);
    }
    await close();
  },

  async tables_follow_without_losing_focus_or_place({ browser, gates }) {
    const { page, close } = await opened(browser, gates.full);
    await settled(page);
    const row = page.locator("#main table.cards").first().locator("tbody tr a").nth(gates.full.rowInMiddle);
    await row.focus();
    const before = await row.getAttribute("href");
    const place = await page.evaluate(() => scrollY);
    await page.evaluate(() => { document.activeElement.same = "yes"; });
    await page.waitForResponse(/api\/sessions/u);
    await page.waitForResponse(/api\/sessions/u);
    await page.waitForTimeout(100);
    assert.equal(await page.evaluate(() => document.activeElement.getAttribute("href")), before);
    assert.equal(await page.evaluate(() => document.activeElement.same), "yes");
    assert.equal(await page.evaluate(() => scrollY), place);
    await close();
  },

  async a_table_sorts_and_filters({ browser, gates }) {
    const { page, close } = await opened(browser, gates.full);
    await settled(page);
    const table = page.locator("table.cards").first();
    const sessions = async () => (await table.locator("tbody tr td:first-child").allInnerTexts()).map((shown) => Number(shown.replace("#", "")));
    const sort = table.getByRole("button", { name: "Session" });
    await table.getByRole("button", { name: "Client" }).click();
    await sort.click();
    const down = await sessions();
    assert.deepEqual(down, [...down].sort((one, other) => other - one));
    assert.equal(await table.locator("th").first().getAttribute("aria-sort"), "descending");
    await sort.press("Enter");
    assert.deepEqual(await sessions(), [...down].reverse());
    await page.keyboard.press("/");
    await page.keyboard.type("alice");
    const left = await sessions();
    assert.ok(left.length > 0 && left.length < down.length, `${left.length} of ${down.length}`);
    for (const row of await table.locator("tbody tr").all()) assert.match(await row.innerText(), /alice/u);
    await page.keyboard.press("Control+a");
    await page.keyboard.type("no such session");
    await page.getByText("No session fits the filter.").waitFor();
    await close();
  },

  async a_rule_that_never_decided_is_marked({ browser, gates }) {
    const { page, close } = await opened(browser, gates.full);
    await go(page, gates.full.views.rules);
    const row = page.locator("tbody tr", { has: page.getByRole("link", { name: gates.full.deadRule, exact: true }) });
    assert.match(await row.innerText(), /never used/u);
    const used = page.locator("tbody tr", { has: page.getByRole("link", { name: gates.full.liveRule, exact: true }) });
    assert.doesNotMatch(await used.first().innerText(), /never used/u);
    await page.getByLabel("never used only").check();
    for (const left of await page.locator("table.cards tbody tr").all()) assert.match(await left.innerText(), /never used/u);
    await close();
  },

  async the_chart_is_read_by_arrow_keys_and_as_a_table({ browser, gates }) {
    const { page, close } = await opened(browser, gates.full);
    await go(page, gates.full.views.rules);
    const plot = page.getByRole("slider", { name: "hits over time" });
    await plot.focus();
    await page.keyboard.press("End");
    assert.match(await text(page, ".legend-title"), /^\d{4}-\d\d-\d\d \d\d:00–\d\d:00: /u);
    const told = [await plot.getAttribute("aria-valuetext")];
    await page.keyboard.press("ArrowLeft");
    assert.equal(await plot.getAttribute("aria-valuenow"), "23");
    told.push(await plot.getAttribute("aria-valuetext"));
    // An hour may have ended since the sessions.
    assert.ok(told.some((value) => /\d+ hits: .*read-public \d+/u.test(value)), told.join("; "));
    await page.getByText("Values as a table").click();
    assert.equal(await page.locator(".values tbody tr").count(), 24);
    await page.getByRole("link", { name: "30 days" }).click();
    await settled(page);
    assert.match(page.url(), /span=30d/u);
    assert.ok(await page.locator("rect.column").count() > 0);
    await close();
  },

  async a_rule_is_shown_as_it_is_written({ browser, gates }) {
    const { page, close } = await opened(browser, gates.full);
    await go(page, gates.full.views.rule);
    const lines = await page.locator(".source tr").allInnerTexts();
    assert.match(lines[0], gates.full.firstSourceLine);
    await close();
  },

  async a_search_finds_and_is_kept_in_the_address({ browser, gates }) {
    const { page, close } = await opened(browser, gates.full);
    await go(page, "#/record");
    const events = page.locator("table.cards tbody tr");
    const all = await events.count();
    assert.equal(await page.getByRole("button", { name: "Older" }).isVisible(), true);
    await page.getByRole("button", { name: "Older" }).click();
    await page.waitForFunction((before) => document.querySelectorAll("table.cards tbody tr").length > before, all);
    await page.getByLabel("Outcome").selectOption("deny");
    await page.getByLabel("Path").fill("/pub/**");
    await page.keyboard.press("Enter");
    await page.waitForURL(/outcome=deny/u);
    await settled(page);
    assert.ok(await events.count() > 0);
    for (const row of await events.all()) assert.match(await row.innerText(), /deny/u);
    await page.reload();
    await settled(page);
    assert.equal(await page.getByLabel("Path").inputValue(), "/pub/**");
    for (const row of await events.all()) assert.match(await row.innerText(), /deny/u);
    await page.getByLabel("Path").fill("/nowhere");
    await page.keyboard.press("Enter");
    await page.getByText("Nothing on the record fits.").waitFor();
    await close();
  },

  async a_story_shows_what_was_rewritten_and_what_became_of_each_pinhole({ browser, gates }) {
    const { page, close } = await opened(browser, gates.full);
    await go(page, gates.full.views.story);
    const rewrite = page.locator("li.event.rewrite").first();
    assert.match(await rewrite.locator("del").innerText(), gates.full.rewritten[0]);
    assert.match(await rewrite.locator("ins").innerText(), gates.full.rewritten[1]);
    assert.match(await page.locator("li.event.pinhole-opened").first().innerText(), /used after [\d.]+ m?s/u);
    assert.match(await page.locator("li.event.transfer").first().innerText(), /completed/u);
    assert.equal(await page.locator("li.event.decision.bad").first().locator(".badge").innerText(), "denied");
    await page.locator("li.event.transfer summary").first().click();
    await page.locator("li.event.transfer pre", { hasText: '"event": "transfer"' }).waitFor();
    await page.getByRole("link", { name: /^Denied and amiss/u }).click();
    await settled(page);
    assert.equal(await page.locator("li.event.session-start").isVisible(), false);
    await close();
  },

  async a_record_that_fails_is_an_alarm_in_every_view({ browser, gates }) {
    const { page, close } = await opened(browser, gates.failing);
    for (const hash of ["#/live", "#/rules", "#/record"]) {
      await go(page, hash);
      await page.getByRole("alert").getByText(/The record cannot be kept: .*No space left on device/u).waitFor();
    }
    await close();
  },

  async all_views_are_reached_by_keys({ browser, gates }) {
    const { page, close } = await opened(browser, gates.full);
    await settled(page);
    await page.evaluate(() => document.activeElement.blur());
    const heading = (name) => page.getByRole("heading", { name, level: 1 }).waitFor({ state: "attached" });
    await page.keyboard.press("2");
    await heading("Rules");
    await page.keyboard.press("j");
    await page.keyboard.press("Enter");
    await heading(/^read-public/u);
    await page.keyboard.press("3");
    await heading("Record");
    await settled(page);
    await page.keyboard.press("/");
    assert.equal(await page.evaluate(() => document.activeElement.name), "path");
    await page.keyboard.press("Escape");
    await page.keyboard.press("1");
    await heading("Live");
    await settled(page);
    await page.keyboard.press("j");
    await page.keyboard.press("j");
    await page.keyboard.press("Enter");
    await heading(/^Session #/u);
    await page.reload();
    await settled(page);
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.id), "skip");
    await page.keyboard.press("Enter");
    assert.equal(await page.evaluate(() => document.activeElement.id), "main");
    await close();
  },

  async theme_and_zone_are_kept({ browser, gates }) {
    const { page, close } = await opened(browser, gates.full, { theme: "light" });
    await go(page, gates.full.views.story);
    assert.match(await text(page, "#zone"), /^UTC\+0[12]:00$/u);
    const local = await text(page, ".event time");
    const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const light = await ground();
    await page.evaluate(() => document.activeElement.blur());
    await page.keyboard.press("u");
    await settled(page);
    await page.keyboard.press("t");
    await page.keyboard.press("t");
    await page.reload();
    await settled(page);
    assert.equal(await text(page, "#zone"), "UTC");
    assert.notEqual(await text(page, ".event time"), local);
    assert.notEqual(await ground(), light);
    await close();
  },
};

/** What stops the empty gate for a while, or has it lock everybody out; in this order. */
const DISTURBING = {
  async a_lost_connection_is_told_and_found_again({ browser, gates, pictures }) {
    const { page, close } = await opened(browser, gates.empty);
    await settled(page);
    await gates.empty.down();
    await page.getByText(/^No answer since \d\d:\d\d:\d\d, trying again\./u).waitFor();
    await page.screenshot({ path: join(pictures, "lost-light-wide.png") });
    await gates.empty.up();
    await page.getByText(/^No answer since/u).waitFor({ state: "detached" });
    await close();
  },

  async too_many_wrong_tokens_are_told_when_to_try_again({ browser, gates }) {
    const { page, close } = await opened(browser, gates.empty, { signIn: false });
    for (let guess = 0; guess < 30; guess += 1) {
      await page.locator("#token").fill(`guess ${guess}`);
      await page.keyboard.press("Enter");
      await page.locator("#fault:not(:empty)").waitFor();
      if ((await text(page, "#fault")).startsWith("Too many")) break;
    }
    assert.match(await text(page, "#fault"), /^Too many wrong tokens\. Try again in \d+ seconds?\.$/u);
    await close();
  },
};
