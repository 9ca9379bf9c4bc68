// Idempotency keys of the SDK against a real server.
import assert from "node:assert/strict";
import path from "node:path";
import { test } from "node:test";
import { type AnswerInfo, type Client, numbers, op, text, when } from "../../src/client/node.js";
import { freshDirectory } from "../support/directories.js";
import { startServer } from "../support/server.js";
import { sharedServer, until } from "./support/shared-server.js";

const shared = sharedServer();
const { open } = shared;

test("a write under an idempotency key is done once, from whichever client", async (t) => {
  const [one, other] = await Promise.all([open(t), open(t)]);
  const spaces = [one, other].map((client) => client.space("default", text));
  const replays: boolean[] = [];
  const onAnswer = ({ replayed }: AnswerInfo): void => void replays.push(replayed);
  for (const space of [...spaces, ...spaces]) {
    const options = { idempotencyKey: "add-once", onAnswer };
    assert.equal(await space.add("keyed/n", 5, options), 5n);
    const put = { idempotencyKey: Uint8Array.of(0, 255, 1) };
    await space.put("keyed/a", "first", put);
    assert.equal(await space.append("keyed/log", "x", { idempotencyKey: "append-once" }), 1);
    assert.equal(await space.delete("keyed/none", { idempotencyKey: "delete-once" }), false);
  }
  assert.deepEqual(replays, [false, true, true, true]);
  const [first, second] = spaces;
  assert.ok(first !== undefined && second !== undefined);
  await assert.rejects(second.add("keyed/n", 6, { idempotencyKey: "add-once" }));
  const seen = await second.outcomeOf("add-once");
  assert.ok(seen.state === "applied" && seen.applied);
  assert.equal(seen.results[0]?.number, 5n);
  const refused = { idempotencyKey: "refused" };
  await assert.rejects(first.add("keyed/a", 1, refused), { code: "wrong_kind" });
  await first.put("keyed/a", "second");
  await assert.rejects(second.add("keyed/a", 1, refused), { code: "wrong_kind" });
  assert.deepEqual(await first.outcomeOf("refused"), { state: "not_applied", code: "wrong_kind" });
  assert.deepEqual(await first.outcomeOf("never sent"), { state: "not_seen" });
});

test("guards that fail with nothing else to do leave an idempotency key free", async (t) => {
  const client = await open(t);
  const space = client.space("default", text);
  const request = { if: [when.exists("keyed/door")], then: [op.put("keyed/in", "yes")] };
  const options = { idempotencyKey: "guarded" };
  assert.equal((await space.submit(request, options)).applied, false);
  assert.deepEqual(await space.outcomeOf("guarded"), { state: "not_seen" });
  await space.put("keyed/door", "open");
  assert.equal((await space.submit(request, options)).applied, true);
});

test("the result of a transact is kept with its idempotency key, for other clients too", async (t) => {
  const [one, other] = await Promise.all([open(t), open(t)]);
  await one.space("default", numbers).put("keyed/gold", 100n);
  const buy = (client: Client) =>
    client.space("default", numbers).transact(
      async (tx) => {
        const gold = (await tx.get("keyed/gold"))?.value ?? 0n;
        if (gold < 60n) throw new Error("not enough gold");
        tx.put("keyed/gold", gold - 60n);
        return { left: gold - 60n, receipt: Uint8Array.of(1, 2), note: undefined };
      },
      { idempotencyKey: "order-17" },
    );
  const bought = await Promise.all([buy(one), buy(other), buy(one), buy(other)]);
  const expected = { left: 40n, receipt: Uint8Array.of(1, 2), note: undefined };
  for (const each of bought) assert.deepEqual(each, expected);
  assert.equal((await other.space("default", numbers).get("keyed/gold"))?.value, 40n);
  const seen = await other.space("default", numbers).outcomeOf("order-17");
  assert.ok(seen.state === "applied");
  assert.deepEqual(seen.result, expected);
  await assert.rejects(
    one.space("default", text).transact(
      (tx) => {
        tx.put("keyed/large", "v");
        return "x".repeat(2_000);
      },
      { idempotencyKey: "large" },
    ),
    { code: "result_too_large" },
  );
  assert.equal(await one.space("default", text).get("keyed/large"), undefined);
});

test("a key outlives its session, and is forgotten after its lifetime", async (t) => {
  const data = path.join(freshDirectory(t), "data");
  const environment = { DOMP_SESSIONS_TTL: "1s", DOMP_SESSIONS_IDEMPOTENCY_TTL: "4s" };
  const short = await startServer(t, { data, environment });
  const client = await open(t, {}, short.url);
  const idempotencyKey = "outlives";
  await client.space("default", numbers).add("n", 1, { idempotencyKey });
  await client.close();
  const other = (await open(t, {}, short.url)).space("default", numbers);
  assert.equal(await other.add("n", 1, { idempotencyKey }), 1n);
  await until(async () => {
    await other.put("tick", 1n);
    const { state } = await other.outcomeOf(idempotencyKey);
    assert.ok(["applied", "expired", "not_seen"].includes(state), state);
    return state !== "applied";
  });
  assert.equal((await other.get("n"))?.value, 1n);
});
