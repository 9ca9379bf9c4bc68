import assert from "node:assert/strict";
import { once } from "node:events";
import { request as httpRequest } from "node:http";
import { connect as connectSocket } from "node:net";
import { test } from "node:test";
import { listenAdmin, type Readiness } from "../../src/admin/index.js";
import { ANONYMOUS, Authenticator, Doors } from "../../src/policy/index.js";
import { ADMIN_CONNECTIONS_MAX } from "../../src/protocol/generated/limits.js";
import { connect, put, request, startTestServer } from "../support/harness.js";

const doors = new Doors({
  host: "127.0.0.1",
  hasTokens: false,
  allowedHosts: [],
  allowedOrigins: [],
});

test("livez says that it runs, readyz whether it serves", async (t) => {
  let readiness: Readiness = { ready: false, text: "starting" };
  const admin = await listenAdmin({
    host: "127.0.0.1",
    port: 0,
    tls: undefined,
    doors,
    authenticator: undefined,
    readiness: async () => readiness,
    metrics: async () => "a 1\n",
    cluster: async () => "{}",
  });
  t.after(() => admin.close());
  const at = async (path: string) => {
    const response = await fetch(`http://127.0.0.1:${admin.port}${path}`);
    return `${response.status} ${(await response.text()).trim()}`;
  };
  assert.equal(await at("/livez"), "200 ok");
  assert.equal(await at("/readyz"), "503 starting");
  readiness = { ready: true, text: "ready" };
  assert.equal(await at("/readyz"), "200 ready");
  readiness = { ready: false, text: "draining" };
  assert.equal(await at("/readyz?verbose"), "503 draining");
  assert.equal(await at("/metrics"), "200 a 1");
  assert.equal(await at("/cluster"), "200 {}");
  assert.match(await at("/"), /^404 /);
});

test("only GET, only by our names, and with a token where one is asked for", async (t) => {
  const sha256 = "c0".repeat(32);
  const admin = await listenAdmin({
    host: "127.0.0.1",
    port: 0,
    tls: undefined,
    doors,
    authenticator: new Authenticator([{ name: "a", sha256, access: "read" }]),
    readiness: async () => ({ ready: true, text: "ready" }),
    cluster: async () => "{}",
    metrics: async () => {
      throw new Error("the engine is gone");
    },
  });
  t.after(() => admin.close());
  const url = `http://127.0.0.1:${admin.port}`;
  assert.equal((await fetch(`${url}/livez`, { method: "POST" })).status, 405);
  assert.equal((await fetch(`${url}/metrics`)).status, 401);
  assert.equal((await fetch(`${url}/cluster`)).status, 401);
  const rebound = await new Promise<number | undefined>((resolve, reject) => {
    const asked = httpRequest(`${url}/livez`, { headers: { Host: "evil.example" } }, (answer) => {
      resolve(answer.statusCode);
      answer.resume();
    });
    asked.on("error", reject);
    asked.end();
  });
  assert.equal(rebound, 403);
  assert.ok(ANONYMOUS);
});

test("sockets that say nothing silence nobody: the idlest makes room", async (t) => {
  const admin = await listenAdmin({
    host: "127.0.0.1",
    port: 0,
    tls: undefined,
    doors,
    authenticator: undefined,
    readiness: async () => ({ ready: true, text: "ready" }),
    metrics: async () => "a 1\n",
    cluster: async () => "{}",
  });
  t.after(() => admin.close());
  const sockets = await Promise.all(
    Array.from({ length: ADMIN_CONNECTIONS_MAX + 20 }, async () => {
      const socket = connectSocket(admin.port, "127.0.0.1");
      t.after(() => socket.destroy());
      socket.on("error", () => undefined);
      await once(socket, "connect");
      return socket;
    }),
  );
  for (let round = 0; round < 3; round += 1) {
    const response = await fetch(`http://127.0.0.1:${admin.port}/livez`);
    assert.equal(response.status, 200);
    await response.arrayBuffer();
  }
  const open = sockets.filter(({ closed, destroyed }) => !closed && !destroyed);
  assert.ok(open.length <= ADMIN_CONNECTIONS_MAX, `${open.length} are open`);
});

/** Reads the exposition format strictly; every sample must belong to a declared metric. */
function parseMetrics(text: string): Map<string, number> {
  const samples = new Map<string, number>();
  const types = new Map<string, string>();
  assert.ok(text.endsWith("\n"));
  for (const line of text.trimEnd().split("\n")) {
    const type = /^# TYPE ([a-z_]+) (counter|gauge|summary)$/.exec(line);
    if (type !== null) {
      assert.ok(!types.has(type[1] ?? ""), `${type[1]} is declared twice`);
      types.set(type[1] ?? "", type[2] ?? "");
      continue;
    }
    if (/^# HELP [a-z_]+ \S/.test(line)) continue;
    const sample = /^([a-z_]+)(\{[a-z_]+="[^"\n]*"(?:,[a-z_]+="[^"\n]*")*\})? (-?[0-9.e+-]+)$/.exec(
      line,
    );
    assert.ok(sample, `not a sample: ${line}`);
    const [, name = "", labels = "", value = ""] = sample;
    const metric = types.has(name) ? name : name.replace(/_(?:sum|count)$/, "");
    assert.ok(types.has(metric), `${name} is not declared`);
    if (types.get(metric) === "counter") assert.match(name, /_total$/);
    assert.ok(!samples.has(name + labels), `${name}${labels} stands twice`);
    assert.ok(Number.isFinite(Number(value)), line);
    samples.set(name + labels, Number(value));
  }
  return samples;
}

test("the metrics parse and count what was done", async (t) => {
  const server = await startTestServer(t);
  const client = await connect(t, server.url);
  const { defaultSpace: space } = await client.hello();
  await client.submit([request(1, space, put("a", "1")), request(2, space, put("b", "2"))]);
  const response = await fetch(`${server.adminUrl}/metrics`);
  assert.match(response.headers.get("content-type") ?? "", /^text\/plain; version=0\.0\.4/);
  const samples = parseMetrics(await response.text());
  assert.equal(samples.get("domp_gateway_connections"), 1);
  assert.equal(samples.get("domp_gateway_connections_attached"), 1);
  assert.equal(samples.get("domp_gateway_frames_received_total"), 2);
  assert.equal(samples.get("domp_engine_up"), 1);
  assert.ok((samples.get("domp_node_proposed_total") ?? 0) >= 2);
  assert.equal(samples.get('domp_shard_keys{group="1",space="default"}'), 2);
  assert.ok((samples.get("domp_engine_log_write_seconds_count") ?? 0) > 0);
  assert.ok((samples.get("process_resident_memory_bytes") ?? 0) > 10_000_000);
});
