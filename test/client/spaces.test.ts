import assert from "node:assert/strict";
import { test } from "node:test";
import { json, numbers, text } from "../../src/client/codecs.js";
import { op, when } from "../../src/client/operations.js";
import { connected, errorOf, watch } from "./support/connect.js";
import { type Answer, firstKey, type SentItem, transactionOf } from "./support/peer.js";

test("the id of a space is looked up once and remembered", async () => {
  const { client, peer, environment } = await connected();
  const space = client.space("games", text);
  const first = watch(space.put("a", "v"));
  await environment.tick();
  assert.equal(transactionOf(peer.last.items[0] as SentItem).space(), 0);
  assert.equal(firstKey(peer.last.items[0] as SentItem), "games");
  peer.last.reply({ sequence: 1, results: [{ entry: { key: "games", value: 7n } }] });
  await environment.tick();
  assert.equal(transactionOf(peer.last.items[1] as SentItem).space(), 7);
  assert.equal(peer.last.items[1]?.space, 7);
  assert.equal(peer.last.items[1]?.sequence, 1, "each space counts for itself");
  peer.last.reply({ sequence: 1, space: 7, revision: 3n });
  await environment.tick();
  assert.deepEqual(first.value, { revision: 3n });
  watch(space.get("a"));
  await environment.tick();
  assert.equal(peer.last.items.length, 3);
});

test("a space that is not there is unknown, and nothing is submitted to it", async () => {
  const { client, peer, environment } = await connected();
  peer.answer = ({ sequence }) => ({ sequence, results: [{}] });
  const put = watch(client.space("nowhere", text).put("a", "v"));
  await environment.tick();
  assert.equal(errorOf(put).code, "unknown_space");
  assert.equal(errorOf(put).outcome, "not_submitted");
  assert.match(errorOf(put).message, /"nowhere"/);
});

test("a space dropped and made anew is found under its new id", async () => {
  const { client, peer, environment } = await connected();
  let current = 7n;
  peer.answer = (item): Answer => {
    const { sequence } = item;
    const space = transactionOf(item).space();
    if (space === 0) return { sequence, results: [{ entry: { key: "games", value: current } }] };
    if (space !== Number(current)) return { sequence, code: "unknown_space" };
    return { sequence, revision: BigInt(space) };
  };
  const space = client.space("games", text);
  const before = watch(space.put("a", "v"));
  await environment.tick();
  assert.deepEqual(before.value, { revision: 7n });
  current = 8n;
  const after = watch(space.put("a", "v"));
  await environment.tick();
  assert.deepEqual(after.value, { revision: 8n });
});

test("a stale id does not repeat what may have taken effect", async () => {
  const { client, peer, environment } = await connected();
  const space = client.space("games", text);
  let current = 7n;
  peer.answer = (item) =>
    transactionOf(item).space() === 0
      ? { sequence: item.sequence, results: [{ entry: { key: "games", value: current } }] }
      : undefined;
  watch(space.get("known"));
  await environment.tick();
  const put = watch(space.put("a", "v"));
  await environment.tick();
  peer.last.reply({ sequence: 1, space: 7, results: [{}] });
  peer.last.drop();
  await environment.advance(200);
  current = 8n;
  peer.last.reply({ sequence: 2, code: "unknown_space" });
  await environment.tick();
  assert.equal(errorOf(put).code, "unknown_space");
  assert.equal(errorOf(put).outcome, "unknown");
  assert.equal(peer.last.items.length, 1, "it was not issued again");
});

test("spaces are created, listed over pages, and dropped", async () => {
  const { client, peer, environment } = await connected();
  const created = watch(client.spaces.create("games"));
  await environment.tick();
  const [item] = peer.last.items;
  assert.equal(transactionOf(item as SentItem).space(), 0);
  assert.equal(firstKey(item as SentItem), "games");
  peer.last.reply({ sequence: 1, results: [{ number: 4n }] });
  await environment.tick();
  assert.deepEqual(created.value, { name: "games", id: 4 });

  const listed = watch(client.spaces.list());
  await environment.tick();
  const page = [{ key: "default", value: 1n }];
  peer.last.reply({ sequence: 2, results: [{ entries: page, more: true }] });
  await environment.tick();
  assert.equal(firstKey(peer.last.items[2] as SentItem), "default\u0000");
  peer.last.reply({ sequence: 3, results: [{ entries: [{ key: "games", value: 4n }] }] });
  await environment.tick();
  assert.deepEqual(listed.value, [
    { name: "default", id: 1 },
    { name: "games", id: 4 },
  ]);

  const dropped = watch(client.spaces.drop("games"));
  await environment.tick();
  peer.last.reply({ sequence: 4 });
  await environment.tick();
  assert.equal(dropped.state, "resolved");
  watch(client.space("games", text).get("a"));
  await environment.tick();
  assert.equal(transactionOf(peer.last.items[4] as SentItem).space(), 0, "it is looked up anew");
});

test("names of spaces are checked before anything is sent", async () => {
  const { client, environment } = await connected();
  for (const name of ["", "a b", "ü", "x".repeat(65), "a/b"]) {
    const created = watch(client.spaces.create(name));
    await environment.tick();
    assert.equal(errorOf(created).code, "invalid_argument", name);
  }
});

test("each method answers what its operation found", async () => {
  const { client, peer, environment } = await connected();
  const space = client.space("default", json<{ hp: number }>());
  const answers: Answer["results"][] = [
    [{ entry: { key: "a", value: '{"hp":3}', modified: 9n, version: 4n, expiresInMs: 50n } }],
    [{}],
    undefined,
    [{ count: 1 }],
    [{ count: 0 }],
    [{ count: 17 }],
    [{ number: -5n }],
    [{ count: 12 }],
    [{ count: 99 }],
  ];
  peer.answer = ({ sequence }) => {
    const results = answers[sequence - 1];
    return results === undefined ? { sequence, revision: 8n } : { sequence, results };
  };
  const all = watch(
    Promise.all([
      space.get("a"),
      space.get("b"),
      space.put("a", { hp: 1 }),
      space.delete("a"),
      space.delete("b"),
      space.deleteRange({ prefix: "x/" }),
      space.add("n", -5),
      space.append("log", "line"),
      space.count({ prefix: "x/" }),
    ]),
  );
  await environment.tick();
  assert.deepEqual(all.value, [
    {
      key: "a",
      keyBytes: new TextEncoder().encode("a"),
      value: { hp: 3 },
      created: 1n,
      modified: 9n,
      version: 4,
      expiresInMs: 50,
    },
    undefined,
    { revision: 8n },
    true,
    false,
    17,
    -5n,
    12,
    99,
  ]);
});

test("a submit answers the branch that was done, each result by its operation", async () => {
  const { client, peer, environment } = await connected();
  const space = client.space("default", text);
  const request = {
    if: [when.exists("a")],
    then: [op.put("a", "1"), op.add("n", 1)],
    else: [op.get("a"), op.get("n", numbers), op.range({ prefix: "p/" }), op.count()],
  } as const;
  const held = watch(space.submit(request));
  const failed = watch(space.submit(request));
  await environment.tick();
  peer.last.reply({ sequence: 1, revision: 2n, results: [{}, { number: 6n }] });
  const entries = [{ key: "p/1", value: "x" }];
  peer.last.reply({
    sequence: 2,
    revision: 3n,
    applied: false,
    failedGuard: 0,
    results: [
      { entry: { key: "a", value: "old" } },
      { entry: { key: "n", value: 5n } },
      { entries, more: true },
      { count: 3 },
    ],
  });
  await environment.tick();
  assert.deepEqual(held.value, { applied: true, revision: 2n, results: [undefined, 6n] });
  const answer = failed.value;
  assert.ok(answer !== undefined && !answer.applied);
  assert.equal(answer.failedGuard, 0);
  const [a, n, page, count] = answer.results;
  assert.equal(a?.value, "old");
  assert.equal(n?.value, 5n);
  assert.equal(page.entries[0]?.value, "x");
  assert.equal(page.revision, 3n);
  assert.deepEqual(page.covered, {
    from: new TextEncoder().encode("p/"),
    to: new TextEncoder().encode("p/1\u0000"),
  });
  assert.equal(count, 3);
});

test("where all operations are puts the server sends no results, and each answers nothing", async () => {
  const { client, peer, environment } = await connected();
  const done = watch(
    client.space("default", text).submit({ then: [op.put("a", "1"), op.put("b", "2")] }),
  );
  await environment.tick();
  peer.last.reply({ sequence: 1, revision: 2n });
  await environment.tick();
  assert.deepEqual(done.value?.results, [undefined, undefined]);
});

test("a range goes on where its page ended, forwards and backwards, up to its limit", async () => {
  const { client, peer, environment } = await connected();
  const keys = ["p/a", "p/b", "p/c", "p/d", "p/e", "p/f"];
  const asked: string[] = [];
  const decoder = new TextDecoder();
  peer.answer = (item): Answer => {
    const range = transactionOf(item).then(0);
    const from = decoder.decode(range?.keyArray() ?? undefined);
    const to = decoder.decode(range?.toArray() ?? undefined) || undefined;
    const isReverse = ((range?.flags() ?? 0) & 1) !== 0;
    const limit = Math.min(range?.limit() ?? 4, 4);
    asked.push(`${JSON.stringify(from)} ${JSON.stringify(to)} ${range?.limit()}`);
    const within = keys.filter((key) => key >= from && (to === undefined || key < to));
    if (isReverse) within.reverse();
    const entries = within.slice(0, limit).map((key) => ({ key, value: "v" }));
    const results = [{ entries, more: within.length > limit }];
    return { sequence: item.sequence, revision: 5n, results };
  };
  const space = client.space("default", text);
  const forward = watch(space.range({ prefix: "p/" }).toArray());
  await environment.tick();
  assert.deepEqual(
    forward.value?.map(({ key }) => key),
    keys,
  );
  const backward = watch(space.range({ prefix: "p/", reverse: true, limit: 5 }).toArray());
  await environment.tick();
  assert.deepEqual(
    backward.value?.map(({ key }) => key),
    ["p/f", "p/e", "p/d", "p/c", "p/b"],
  );
  assert.deepEqual(asked, [
    '"p/" "p0" null',
    '"p/d\\u0000" "p0" null',
    '"p/" "p0" 5',
    '"p/" "p/c" 1',
  ]);
  const page = watch(space.range({ prefix: "p/", limit: 2, keysOnly: true }).page());
  await environment.tick();
  assert.equal(page.value?.entries.length, 2);
  const next = page.value?.next;
  assert.ok(next !== undefined);
  assert.equal(next.limit, 2);
  const second = watch(space.range(next).page());
  await environment.tick();
  assert.deepEqual(
    second.value?.entries.map(({ key }) => key),
    ["p/c", "p/d"],
  );
});

test("a loop over a range reads only the pages it comes to", async () => {
  const { client, peer, environment } = await connected();
  peer.answer = ({ sequence }) => ({
    sequence,
    results: [
      {
        entries: [
          { key: "a", value: "v" },
          { key: "b", value: "v" },
        ],
        more: true,
      },
    ],
  });
  const seen: string[] = [];
  const space = client.space("default", text);
  const loop = watch(
    (async () => {
      for await (const { key } of space.range()) {
        seen.push(key);
        break;
      }
    })(),
  );
  await environment.tick();
  assert.equal(loop.state, "resolved");
  assert.deepEqual(seen, ["a"]);
  assert.equal(peer.last.items.length, 1);
});

test("a whole space is deleted only by saying so", async () => {
  const { client, environment } = await connected();
  const space = client.space("default", text);
  const nothing = watch(space.deleteRange({}));
  watch(space.deleteRange({ from: "" }));
  await environment.tick();
  assert.equal(errorOf(nothing).code, "invalid_argument");
});

test("arguments out of range are refused before anything is sent", async () => {
  const { client, peer, environment } = await connected();
  const space = client.space("default", text);
  const wrong = [
    space.get("a", { timeoutMs: 0 }),
    space.get("a", { timeoutMs: 600_001 }),
    space.put("a", "v", { expireAfterMs: 0 }),
    space.put("a", "v", { expireAfterMs: 1.5 }),
    space.add("a", 0.5),
    space.add("a", 2n ** 63n),
    space.add("a", 1, { floor: 5, ceiling: 4 }),
    (async () => space.range({ limit: 0 }).page())(),
    space.submit({ if: [when.version("a", -1)], then: [] }),
    space.submit({ if: [when.modified("a", -1n)], then: [] }),
  ].map((promise) => watch<unknown>(promise));
  await environment.tick();
  for (const [i, call] of wrong.entries()) {
    assert.equal(errorOf(call).code, "invalid_argument", `call ${i}`);
  }
  assert.equal(peer.last.frames.length, 0);
});
