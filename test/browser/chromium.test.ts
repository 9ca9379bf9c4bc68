// The SDK's browser entry in a real Chromium, on a page from loopback, against a real server.
import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { type TestContext, test } from "node:test";
import { build } from "esbuild";
import type { BrowserContext, Page } from "playwright-core";
import type * as Sdk from "../../src/client/index.js";
import { freshDirectory } from "../support/directories.js";
import { root } from "../support/root.js";
import { stablePort, startServer } from "../support/server.js";

const CHROMIUM = process.env["DOMP_TEST_CHROMIUM"] ?? "/usr/bin/chromium";
const ARGUMENTS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** What the page keeps between two looks at it. */
interface Kept {
  readonly client: Sdk.Client;
  readonly states: Sdk.ConnectionState[];
  isOver: boolean;
  acknowledged: number;
  workers: Promise<void>;
}

declare global {
  // The page's globals: the bundle, and what the test keeps there.
  var domp: typeof Sdk;
  var kept: Kept;
}

test("a page puts, transacts, and goes on through a restart in the same session", async (t) => {
  if (!existsSync(CHROMIUM)) {
    if (process.env["DOMP_NO_SKIPS"] === "1") assert.fail(`needs chromium at ${CHROMIUM}`);
    t.skip("skipped: needs chromium");
    return;
  }
  const data = path.join(freshDirectory(t), "data");
  const server = await startServer(t, { data, port: await stablePort() });
  const page = await openPage(t, await servePage(t));

  const transport = await page.evaluate(async (url) => {
    const states: Sdk.ConnectionState[] = [];
    const client = await domp.connect(url, {
      timeoutMs: 60_000,
      onState: (state) => states.push(state),
    });
    const workers = Promise.resolve();
    globalThis.kept = { client, states, isOver: false, acknowledged: 0, workers };
    return { process: "process" in globalThis, websocket: typeof WebSocket };
  }, server.url);
  assert.deepEqual(transport, { process: false, websocket: "function" }, "no Node in there");

  const put = await page.evaluate(async () => {
    const players = kept.client.space("default", domp.json<{ gold: number }>());
    await Promise.all([players.put("ada", { gold: 70 }), players.put("bob", { gold: 30 })]);
    const { entries } = await players.range({ from: "a", to: "c" }).page();
    return entries.map(({ key, value }) => [key, value.gold]);
  });
  assert.deepEqual(put, [
    ["ada", 70],
    ["bob", 30],
  ]);

  const left = await page.evaluate(async () => {
    const players = kept.client.space("default", domp.json<{ gold: number }>());
    const move = (from: string, to: string, amount: number) =>
      players.transact(
        async (tx) => {
          const [payer, payee] = await Promise.all([tx.get(from), tx.get(to)]);
          if (payer === undefined || payee === undefined) throw new Error("nobody");
          if (payer.value.gold < amount) throw new Error("not enough gold");
          tx.put(from, { gold: payer.value.gold - amount });
          tx.put(to, { gold: payee.value.gold + amount });
        },
        { attemptsMax: 100 },
      );
    const moves = [1, 2, 3, 4].flatMap((n) => [move("ada", "bob", n), move("bob", "ada", 2 * n)]);
    await Promise.all(moves);
    const refused = await move("bob", "ada", 1_000).catch((error: Error) => error.message);
    const both = await Promise.all([players.get("ada"), players.get("bob")]);
    return { gold: both.map((entry) => entry?.value.gold), refused };
  });
  assert.deepEqual(left, { gold: [80, 20], refused: "not enough gold" });

  await page.evaluate(() => {
    const counters = kept.client.space("default", domp.numbers);
    const work = async (): Promise<void> => {
      while (!kept.isOver) {
        await counters.add("total", 1);
        kept.acknowledged += 1;
      }
    };
    kept.workers = Promise.all(Array.from({ length: 8 }, work)).then(() => undefined);
  });
  await page.waitForFunction(() => kept.acknowledged > 100);
  await server.stop("SIGKILL");
  await page.waitForFunction(() => kept.states.some(({ state }) => state === "disconnected"));
  await startServer(t, { data, port: server.port });
  const seen = await page.evaluate(() => kept.acknowledged);
  await page.waitForFunction((before) => kept.acknowledged > before + 100, seen);
  const end = await page.evaluate(async () => {
    kept.isOver = true;
    await kept.workers;
    const total = await kept.client.space("default", domp.numbers).get("total");
    const connected = kept.states.filter((state) => state.state === "connected");
    await kept.client.close();
    return { total: Number(total?.value), acknowledged: kept.acknowledged, last: connected.at(-1) };
  });
  assert.equal(end.total, end.acknowledged, "each acknowledged once, none lost, none doubled");
  assert.deepEqual(end.last, { state: "connected", resumed: true });
});

/** Serves a page with the SDK's bundle from loopback; returns its address. */
async function servePage(t: TestContext): Promise<string> {
  const built = await build({
    entryPoints: [path.join(root, "src/client/index.ts")],
    bundle: true,
    minify: true,
    format: "iife",
    globalName: "domp",
    platform: "browser",
    target: "es2022",
    write: false,
  });
  const script = built.outputFiles[0]?.text ?? "";
  const html = `<!doctype html><meta charset="utf-8"><title>domp</title><script src="/domp.js"></script>`;
  const server = createServer((request, response) => {
    const isScript = request.url === "/domp.js";
    response.setHeader("content-type", isScript ? "text/javascript" : "text/html");
    response.end(isScript ? script : html);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

async function openPage(t: TestContext, address: string): Promise<Page> {
  const { chromium } = await import("playwright-core");
  const profile = mkdtempSync(path.join(tmpdir(), "domp-chromium-"));
  const context: BrowserContext = await chromium.launchPersistentContext(profile, {
    executablePath: CHROMIUM,
    args: ARGUMENTS,
  });
  t.after(async () => {
    await context.close();
    rmSync(profile, { recursive: true, force: true });
  });
  const page = await context.newPage();
  page.on("pageerror", (error) => t.diagnostic(`in the page: ${error.message}`));
  await page.goto(address);
  return page;
}
