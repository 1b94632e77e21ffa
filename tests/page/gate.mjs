// A real portcullis with a page, on loopback and without privileges, in front of a small FTP server; and what it is told.
import { spawn } from "node:child_process";
import { createConnection, createServer } from "node:net";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

export const TOKEN = "correct-horse-battery-staple";
export const HOSTILE = `<img src=x onerror="document.title='owned'">`;

/** Starts portcullis in a folder of its own; `output` is where its lines go. */
export async function gate(program, folder, { rules, output = join(folder, "eve.json") }) {
  await mkdir(folder, { recursive: true });
  const server = await ftpServer();
  const [port, page] = await Promise.all([freePort(), freePort()]);
  await writeFile(join(folder, "rules.yaml"), rules);
  await writeFile(join(folder, "token"), `${TOKEN}\n`, { mode: 0o600 });
  await writeFile(join(folder, "portcullis.yaml"), `
listeners:
  - name: ftp
    published: { listen: "127.0.0.1:${port}", server: "127.0.0.1:${server.port}" }
    server-sees: edge
    data: relay
    rules: rules.yaml
limits: { sessions-per-client: 1000, session-rate-per-client: 1000/s, session-rate: 1000/s }
audit: { output: "${output}", store: "${join(folder, "audit.db")}", on-failure: allow }
admin: { page: "127.0.0.1:${page}", token-file: "${join(folder, "token")}" }
`);
  const child = spawn(program, ["run", "--config", join(folder, "portcullis.yaml")], { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => { said = (said + data).slice(-4000); });
  const url = `http://127.0.0.1:${page}/`;
  const ask = async (path) => {
    const response = await fetch(`${url}api/${path}`, { headers: { Authorization: `Bearer ${TOKEN}` } });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return response.json();
  };
  const close = () => { child.kill("SIGKILL"); server.close(); };
  try {
    await until(() => ask("status"), () => { if (child.exitCode !== null) throw new Error(`portcullis ended: ${said}`); });
  } catch (error) {
    close();
    throw error;
  }
  return { url, port, token: TOKEN, hostile: HOSTILE, ask, close, down: () => child.kill("SIGSTOP"), up: () => child.kill("SIGCONT"), passive: server.passive };
}

/** Tries until it works, for half a minute. */
export async function until(attempt, between = () => {}) {
  const end = Date.now() + 30_000;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (Date.now() > end) throw error;
    }
    between();
    await new Promise((done) => setTimeout(done, 100));
  }
}

function freePort() {
  return new Promise((done) => {
    const probe = createServer().listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => done(port));
    });
  });
}

/** A control connection of a client. */
export class Client {
  constructor(port) {
    this.lines = "";
    this.waiting = null;
    this.socket = createConnection({ port, host: "127.0.0.1" });
    this.socket.on("error", () => {});
    this.socket.on("data", (data) => {
      this.lines += data;
      this.take();
    });
  }

  /** Sends a line, if there is one, and gives the reply. */
  ask(line = null) {
    if (line !== null) this.socket.write(`${line}\r\n`);
    return new Promise((done, failed) => {
      this.waiting = done;
      this.socket.once("close", () => failed(new Error(`closed instead of a reply to ${line}`)));
      this.take();
    });
  }

  take() {
    const end = this.lines.indexOf("\r\n");
    if (end < 0 || !this.waiting) return;
    const reply = this.lines.slice(0, end);
    this.lines = this.lines.slice(end + 2);
    const tell = this.waiting;
    this.waiting = null;
    tell(reply);
  }

  async login(user) {
    await this.ask();
    await this.ask(`USER ${user}`);
    return this.ask("PASS secret");
  }

  /** Fetches a file in passive mode; gives its bytes. */
  async fetch(path) {
    const [, port] = /\|\|\|(\d+)\|/u.exec(await this.ask("EPSV"));
    const data = createConnection({ port: Number(port), host: "127.0.0.1" });
    let bytes = 0;
    const ended = new Promise((done) => { data.on("data", (piece) => { bytes += piece.length; }).on("close", done).on("error", done); });
    await this.ask(`RETR ${path}`);
    await ended;
    await this.ask();
    return bytes;
  }
}

/** Answers what the clients here send; every file holds 100,000 bytes. */
async function ftpServer() {
  const open = new Set();
  const passive = { port: null };
  const control = createServer((socket) => {
    open.add(socket);
    let rest = "";
    let data = null;
    let listener = null;
    const say = (text) => socket.write(`${text}\r\n`);
    const answers = {
      USER: () => say("331 Password, please"),
      PASS: () => say("230 Logged in"),
      EPSV: () => {
        data = new Promise((done) => {
          listener = createServer((connection) => { listener.close(); connection.on("error", () => {}); done(connection); });
          listener.listen(0, "127.0.0.1", () => {
            passive.port = listener.address().port;
            say(`229 Entering Extended Passive Mode (|||${passive.port}|)`);
          });
        });
      },
      RETR: async () => {
        say("150 Here it comes");
        (await data).end(Buffer.alloc(100_000, "x"), () => say("226 Done"));
      },
      QUIT: () => socket.end("221 Bye\r\n"),
    };
    say("220 Ready");
    socket.on("error", () => {}).on("close", () => { open.delete(socket); listener?.close(); });
    socket.on("data", (piece) => {
      const lines = (rest + piece).split("\r\n");
      rest = lines.pop();
      for (const line of lines) (answers[line.split(" ")[0].toUpperCase()] ?? (() => say("502 Not here")))();
    });
  });
  await new Promise((done) => control.listen(0, "127.0.0.1", done));
  return { port: control.address().port, passive, close: () => { control.close(); open.forEach((socket) => socket.destroy()); } };
}
