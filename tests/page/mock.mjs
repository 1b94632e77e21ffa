// Stands in for a gate that has been busy for a month: 200 sessions, 60 rules, long names, hits by the hour, which no
// test could bring about by real traffic. For the looks of the page alone; what it does is tried with the program.
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { HOSTILE, TOKEN } from "./gate.mjs";

const TYPES = { html: "text/html; charset=utf-8", css: "text/css", js: "text/javascript", svg: "image/svg+xml", json: "application/json" };
const NOW = () => Date.now() * 1000;
const HOUR = 3_600_000_000;
const FLOW = 8589934592;
const LONG = "/pub/releases/2026/11/very-long-project-name-that-never-ends/x86_64-unknown-linux-musl/artifacts/final/portcullis-0.1.0-build.20261120.tar.zst";

/** Serves the page's files, and what it asks for. */
export async function crowd(files) {
  const server = createServer(async (request, response) => {
    const url = new URL(request.url, "http://gate");
    const send = (status, kind, body, more = {}) => {
      response.writeHead(status, { "Content-Security-Policy": "default-src 'self'", "Content-Type": kind, ...more });
      response.end(body);
    };
    const path = url.pathname;
    const answer = answers[path.slice(5)]?.(url.searchParams) ?? null;
    if (path === "/api/login") return send(204, TYPES.js, null, { "Set-Cookie": "portcullis=yes; HttpOnly; SameSite=Strict; Path=/" });
    if (path.startsWith("/api/") && !(request.headers.cookie ?? "").includes("portcullis=yes")) return send(401, TYPES.json, `{"error":"no token"}`);
    if (path.startsWith("/api/")) return send(answer === null ? 404 : 200, TYPES.json, JSON.stringify(answer ?? { error: "no such thing" }));
    const name = path === "/" ? "index.html" : path.slice(1);
    send(200, TYPES[name.split(".").at(-1)], await readFile(join(files, name)));
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${server.address().port}/`, token: TOKEN, hostile: HOSTILE, close: () => { server.closeAllConnections(); server.close(); },
    views: {
      live: "#/live", rules: "#/rules", "rules-30d": "#/rules?span=30d", rule: "#/rule?rule=read-public&file=rules/edge.yaml",
      "rule-gone": "#/rule?rule=rule-57&file=rules/edge.yaml", record: "#/record", story: "#/story?flow=8589934592",
    },
  };
}

const user = (at) => [HOSTILE, "alice", "anonymous", null, "бухгалтерия", "ali\u202ecilbup", "partner-with-a-rather-long-name@customer.example.org"][at % 7];
const client = (at) => (at % 3 === 0 ? `[2001:db8:1234:5678:9abc:def0:1234:${(at + 16).toString(16)}]:${40000 + at}` : `10.60.${at % 5}.${at + 2}:${40000 + at}`);
const server = (at) => (at % 3 === 0 ? "[2001:db8:ffff:1::14]:21" : "198.51.100.20:21");
const bare = (address) => address.replace(/^\[?(.*?)\]?:\d+$/u, "$1");
const rule = (at) => ({ rule: at === 0 ? "read-public" : at === 59 ? "a-rule-whose-id-is-as-long-as-anybody-would-ever-write-it" : `rule-${String(at).padStart(2, "0")}`, file: "rules/edge.yaml", at: `rules/edge.yaml:${12 + at * 6}` });
const dead = (at) => at % 9 === 4;

const answers = {
  status: () => ({
    version: "0.1.0", started: NOW() - 55 * HOUR, at: NOW(), sessions: 200, pinholes: 9, transfers_running: 41,
    listeners: [{ name: "lan", kind: "transparent", address: ":21 on lan0", policy: "rules/edge.yaml", rules: 60 }, { name: "ftp.example.org", kind: "published", address: "[2001:db8::1]:21", policy: "rules/published-server.yaml", rules: 7 }],
    store: "/var/lib/portcullis/audit.db",
    record: { state: "writing", error: null, waiting: 17, written: 1234567, unrecorded: 312 },
    rules_loaded: { at: NOW() - HOUR, ok: false, text: "rules/edge.yaml:14:5: unknown key 'alow'; did you mean 'allow'?\n   |\n14 |     alow: true\n   |     ^^^^" },
  }),
  sessions: () => ({ sessions: Array.from({ length: 200 }, (_, at) => ({
    session: at + 1, flow: FLOW + at, listener: at % 4 ? "lan" : "ftp.example.org", client: client(at), server: server(at), seen: "203.0.113.1:40112", user: user(at),
    started: NOW() - (at + 1) * 7_000_000, active: NOW() - (at % 40) * 1_700_000, state: ["transfer", "idle", "login", "tls", "idle"][at % 5],
    command: ["RETR", null, null, null, "LIST"][at % 5], path: [LONG, null, null, null, "/pub"][at % 5], rule: at % 5 === 2 ? null : rule(at % 60).rule, rule_at: at % 5 === 2 ? null : rule(at % 60).at,
    transfers: at % 13, bytes: (at % 13) * 73_412_391, denied: at % 17 === 0 ? 3 : 0, pinhole: null })) }),
  pinholes: () => ({ pinholes: Array.from({ length: 9 }, (_, at) => ({
    session: at + 1, flow: FLOW + at, pinhole: at, listener: "lan", client: client(at), server: server(at), user: user(at), mode: at % 2 ? "passive" : "active",
    from: at % 3 === 0 ? "[2001:db8:ffff:1::14]:20" : "198.51.100.20:20", to: at % 3 === 0 ? "[2001:db8:1234:5678:9abc:def0:1234:10]:50112" : "203.0.113.1:50112", target: client(at), rule: rule(at).rule,
    opened: NOW() - at * 2_000_000, state: at % 3 ? "used" : "open", command: at % 3 ? "RETR" : null, path: at % 3 ? LONG : null })) }),
  hits: () => ({ begun: NOW() - 700 * HOUR, rules: Array.from({ length: 60 }, (_, at) => ({
    ...rule(at), action: at === 57 ? null : at % 5 === 3 ? "deny" : "allow", listeners: at === 57 ? [] : ["lan"], hits: dead(at) ? 0 : (60 - at) ** 3, bytes: dead(at) ? 0 : (60 - at) ** 4 * 991,
    first_use: dead(at) ? null : NOW() - 600 * HOUR, last_use: dead(at) ? null : NOW() - at * HOUR / 4,
    clients: dead(at) ? [] : [{ client: "10.60.1.2", hits: 91823 }, { client: "2001:db8:1234:5678:9abc:def0:1234:5678", hits: 812 }] })) }),
  "hits/series": (query) => {
    const [from, to] = [Number(query.get("from")), Number(query.get("to"))];
    const series = [];
    for (let at = 0; at < 60; at += 1) {
      if (dead(at) || (query.get("rule") && query.get("rule") !== rule(at).rule)) continue;
      const points = [];
      for (let hour = Math.floor(from / HOUR) * HOUR; hour < to; hour += HOUR) {
        const day = 1 + Math.sin((hour / HOUR / 24) * 2 * Math.PI + at);
        const hits = Math.round((1 + day) * 40 / (at + 1) * (1 + ((hour / HOUR * 7 + at) % 5)));
        if (hits) points.push([hour, hits, hits * 1000]);
      }
      series.push({ rule: rule(at).rule, file: rule(at).file, points });
    }
    return { step: HOUR, from, to, series };
  },
  rule: (query) => {
    const at = Array.from({ length: 60 }, (_, each) => each).find((each) => rule(each).rule === query.get("rule"));
    if (at === undefined) return null;
    const { clients, hits, bytes, first_use, last_use } = answers.hits().rules[at];
    return { ...rule(at), configured: at !== 57, first_line: 12 + at * 6, hits, bytes, first_use, last_use, clients,
      source: at === 57 ? null : `  - id: ${rule(at).rule}\n    # Partners fetch what was released, and nothing else; see the contract of 2024 for the whole list of folders they may see.\n    allow: true\n    command: [read, list]\n    path: [/pub/**, /releases/**]\n`,
      recent: dead(at) ? [] : events().filter((event) => event.rule === "read-public").map((event) => ({ ...event, eve: undefined })).reverse() };
  },
  record: () => {
    const list = events().map((event) => ({ ...event, eve: undefined })).reverse();
    return { events: Array.from({ length: 5 }, (_, round) => list.map((event) => ({ ...event, seq: event.seq - round * 100, time: event.time - round * 60_000_000 }))).flat(), next: 7 };
  },
  story: (query) => ({ flow: Number(query.get("flow")), session: 1, client: client(0), server: server(0), listener: "lan", user: HOSTILE, started: events()[0].time, ended: events().at(-1).time, events: events(), more: true }),
};

function events() {
  const start = 1_795_187_564_123_456;
  let [seq, time] = [0, start];
  const list = [];
  const add = (kind, after, row = {}, facts = {}, more = {}) => {
    seq += 1;
    time += after * 1000;
    const event = { seq, time, session: 1, flow: FLOW, kind, client: bare(client(0)), server: server(0), listener: "lan", user: seq < 4 ? null : HOSTILE, rule: null, rule_at: null, verb: null, path: null, outcome: null, code: null, bytes: null, packets: null, duration_ms: null, ...row };
    list.push({ ...event, eve: { timestamp: "2026-11-20T15:12:44.123456+0000", flow_id: FLOW, event_type: "ftp", ...more, portcullis: { event: kind, session: 1, listener: "lan", server: server(0), seen: "[2001:db8:cafe::1]:40112", ...facts } } });
  };
  const by = { rule: "read-public", rule_at: "rules/edge.yaml:12" };
  add("session-start", 0);
  add("decision", 40, { verb: "USER", outcome: "allow", ...by }, {}, { ftp: { command: "USER", command_data: HOSTILE } });
  add("reply", 3, { verb: "USER", code: 331 }, {}, { ftp: { reply: ["Please specify the password."] } });
  add("reply", 500, { verb: "PASS", code: 230 }, {}, { ftp: { reply: ["Login successful."] } });
  add("violation", 10, {}, { by: "client", reason: "a line with a NUL", line: "RETR a\u0000b" });
  add("decision", 900, { verb: "PORT", outcome: "allow", ...by }, {}, { ftp: { command: "PORT", command_data: "10,60,1,2,160,40" } });
  add("rewrite", 0.2, by, { direction: "to_server", before: "PORT 10,60,1,2,160,40", after: "PORT 203,0,113,1,195,192" });
  add("pinhole-opened", 0.4, by, { transfer: 1, mode: "active", pinhole: { initiator: "198.51.100.20", announced: "203.0.113.1:50112", target: "10.60.1.2:41000", source: "198.51.100.20" } });
  add("decision", 12, { verb: "RETR", path: LONG, outcome: "allow", ...by });
  add("pinhole-used", 14, { duration_ms: 27 }, { transfer: 1 });
  add("transfer", 4200, { verb: "RETR", path: LONG, outcome: "completed", code: 226, bytes: 73412391, packets: 51234, duration_ms: 4187, ...by }, { transfer: 1, mode: "active", announced: "10.60.1.2:41000", rewritten: "203.0.113.1:50112", bytes_forth: 73012391, bytes_back: 400000 });
  add("reply", 1, { verb: "RETR", path: LONG, code: 226 }, {}, { ftp: { reply: ["Transfer complete."] } });
  add("decision", 2500, { verb: "STOR", path: "/pub/evil\u202egnp.exe", outcome: "deny", code: 550, rule: "rule-03", rule_at: "rules/edge.yaml:30" }, {}, { ftp: { reply: ["Uploads are not allowed here"] } });
  add("rewrite", 30, by, { direction: "to_client", before: "229 Entering Extended Passive Mode (|||40001|)", after: "229 Entering Extended Passive Mode (|||50500|)" });
  add("pinhole-opened", 1, by, { transfer: 2, mode: "passive", pinhole: { initiator: "2001:db8:1234:5678:9abc:def0:1234:10", announced: "[2001:db8:ffff:1::14]:40001", target: "[2001:db8:ffff:1::14]:40001", source: "2001:db8:cafe::1" } });
  add("pinhole-unused", 60000, { outcome: "expired" }, { transfer: 2, reason: "expired" });
  add("conversion", 10, {}, { before: "EPSV", after: "PASV", reason: "the server answered EPSV with 500" });
  add("tls-start", 10, by, { reason: "window: passive ports 50000-50100, at most 4 at a time" });
  add("session-end", 1000, { outcome: "client_closed", duration_ms: 69000 }, { reason: "client_closed" }, { flow: { bytes_toserver: 512, bytes_toclient: 2048 } });
  return list;
}
