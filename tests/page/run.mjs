// Starts what the page is looked at with, and looks. Arguments: the folder of the page, the folder for pictures.
import { createRequire } from "node:module";
import { check } from "./check.mjs";
import { HOSTILE, TOKEN, gate } from "./mock.mjs";

const [files, pictures] = process.argv.slice(2);
const { chromium } = createRequire(`${process.env.PAGE_PLAYWRIGHT}/`)("playwright-core");
const common = { token: TOKEN, hostile: HOSTILE };
const gates = {};
for (const scene of ["full", "empty", "failing"]) {
  const { url, state, close } = await gate(scene, files);
  gates[scene] = { ...common, url, close, down: () => { state.down = true; }, up: () => { state.down = false; } };
}
Object.assign(gates.full, {
  rowInMiddle: 60, deadRule: "rule-04", liveRule: "read-public", firstSourceLine: /^12\s+- id: read-public/u, rewritten: [/10,60,1,2,160,40/u, /203,0,113,1,195,192/u],
  views: { live: "#/live", rules: "#/rules", "rules-30d": "#/rules?span=30d", rule: "#/rule?rule=read-public&file=rules/edge.yaml", "rule-dead": "#/rule?rule=rule-04&file=rules/edge.yaml", record: "#/record", story: "#/story?flow=8589934592" },
});
Object.assign(gates.empty, { views: { live: "#/live", rules: "#/rules", record: "#/record?last=24h&outcome=deny" } });
Object.assign(gates.failing, { views: { live: "#/live" } });

const browser = await chromium.launch({ executablePath: process.env.PAGE_CHROMIUM, chromiumSandbox: false });
try {
  await check(browser, gates, pictures);
} finally {
  await browser.close();
  for (const { close } of Object.values(gates)) close();
}
