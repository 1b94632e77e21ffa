// Starts what the page is looked at with, and looks. Arguments: the program, the folder of the page, a folder for
// scratch, a folder for pictures.
import { createRequire } from "node:module";
import { join } from "node:path";
import { check } from "./check.mjs";
import { Client, HOSTILE, gate, until } from "./gate.mjs";
import { crowd } from "./mock.mjs";

const [program, files, scratch, pictures] = process.argv.slice(2);
const { chromium } = createRequire(`${process.env.PAGE_PLAYWRIGHT}/`)("playwright-core");

const RULES = `rules:
  - id: nothing-secret
    deny: 550 This is not for you
    command: [read, write]
    path: [/pub/secret/*]
  # Anybody may fetch.
  - id: read-public
    allow: true
    command: [basic, list, read]
  - id: retired-partner
    allow: true
    client: 192.0.2.7
    command: [write]
`;
const IDLE = 60;

/** A gate with history: one session that did all there is to show, and many that are open. */
async function busy() {
  const full = await gate(program, join(scratch, "full"), { rules: RULES });
  const client = new Client(full.port);
  await client.login(HOSTILE);
  await client.fetch("/pub/a/file.bin");
  const announced = full.passive.port;
  await client.ask("RETR /pub/secret/plans.txt");
  await client.ask("QUIT");
  const open = [];
  for (let at = 0; at < IDLE; at += 1) {
    const one = new Client(full.port);
    await one.login([HOSTILE, "alice", "ali\u202ecilbup", "anonymous"][at % 4]);
    if (at % 9 === 0) await one.ask(`RETR /pub/secret/${at}`);
    open.push(one);
  }
  const [told] = await until(async () => {
    const { events } = await full.ask("record?kind=session-end");
    if (events.length !== 1) throw new Error("the first session has not ended on the record");
    return events;
  });
  const { rules } = await full.ask("hits");
  const file = encodeURIComponent(rules.find(({ rule }) => rule === "read-public").file);
  return Object.assign(full, {
    rowInMiddle: 40, liveRule: "read-public", deadRule: "retired-partner", firstSourceLine: /^\s*\d+\s+- id: read-public/u,
    rewritten: [new RegExp(`^${announced}$`, "u"), /^\d+$/u],
    views: { live: "#/live", rules: "#/rules", rule: `#/rule?rule=read-public&file=${file}`, "rule-dead": `#/rule?rule=retired-partner&file=${file}`, record: "#/record", story: `#/story?flow=${told.flow}` },
  });
}

/** A gate whose record goes to a full disk. */
async function failing() {
  const made = await gate(program, join(scratch, "failing"), { rules: RULES, output: "/dev/full" });
  const client = new Client(made.port);
  await client.ask().catch(() => {});
  client.socket.destroy();
  return Object.assign(made, { views: { live: "#/live" } });
}

const empty = async () => Object.assign(await gate(program, join(scratch, "empty"), { rules: RULES }), {
  views: { live: "#/live", rules: "#/rules", record: "#/record?last=24h&outcome=deny" },
});

const gates = {};
let browser = null;
try {
  gates.full = await busy();
  gates.empty = await empty();
  gates.failing = await failing();
  gates.crowd = await crowd(files);
  browser = await chromium.launch({ executablePath: process.env.PAGE_CHROMIUM, chromiumSandbox: false });
  await check(browser, gates, pictures);
} finally {
  await browser?.close();
  for (const { close } of Object.values(gates)) close();
}
