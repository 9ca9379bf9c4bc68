import assert from "node:assert/strict";
import { test } from "node:test";
import { bytes, type Codec, json, numbers, text } from "../../src/client/codecs.js";
import { DompError } from "../../src/client/errors.js";
import { keyAfter, keyBytes, orderedText, prefixEnd } from "../../src/client/keys.js";
import { isSameSession, parseRequestId, sessionText } from "../../src/client/request-id.js";
import { webSocketUrl } from "../../src/client/transport.js";
import { connected, errorOf, watch } from "./support/connect.js";
import { type Answer, type EntryFields, transactionOf } from "./support/peer.js";

const ASCII = new TextEncoder();

async function roundTrip<V>(codec: Codec<V>, value: V): Promise<V | undefined> {
  const { client, peer, environment } = await connected();
  const space = client.space("default", codec);
  let stored: EntryFields | undefined;
  peer.answer = (item): Answer => {
    const operation = transactionOf(item).then(0);
    const raw = operation?.valueArray();
    const number = operation?.number() ?? undefined;
    if (number !== undefined) stored = { key: "k", value: number };
    else if (raw !== null && raw !== undefined) {
      stored = { key: "k", value: new TextDecoder("utf-8", { ignoreBOM: true }).decode(raw) };
    }
    const { sequence } = item;
    return stored === undefined ? { sequence } : { sequence, results: [{ entry: stored }] };
  };
  const put = watch(space.put("k", value));
  await environment.tick();
  assert.equal(put.state, "resolved");
  const got = watch(space.get("k"));
  await environment.tick();
  return got.value?.value;
}

test("values come back as they went, through every codec", async () => {
  assert.equal(await roundTrip(text, "grüße, 世界"), "grüße, 世界");
  assert.equal(await roundTrip(text, "\ufeffwith a mark"), "\ufeffwith a mark");
  assert.deepEqual(await roundTrip(bytes, ASCII.encode("raw")), ASCII.encode("raw"));
  const player = { name: "Ada", items: [1, null, { deep: true }] };
  assert.deepEqual(await roundTrip(json<typeof player>(), player), player);
  assert.equal(await roundTrip(numbers, -(2n ** 63n)), -(2n ** 63n));
  assert.equal(await roundTrip(json<null>(), null), null);
});

test("a number is seen by every codec in its own way", () => {
  assert.equal(json<number>().decode(42n), 42);
  assert.equal(json<unknown>().decode(2n ** 60n), 2n ** 60n);
  assert.equal(text.decode(-7n), "-7");
  assert.deepEqual(bytes.decode(12n), ASCII.encode("12"));
  assert.throws(() => numbers.decode(ASCII.encode("12")), { code: "wrong_kind" });
});

test("bytes are the caller's own, in and out", async () => {
  const mine = ASCII.encode("abc");
  const key = ASCII.encode("key");
  const { client, peer, environment } = await connected();
  // The space is looked up first, so the put waits while its bytes change.
  const space = client.space("games", bytes);
  watch(space.put(key, mine));
  mine.fill(0);
  key.fill(0);
  await environment.tick();
  peer.last.reply({ sequence: 1, results: [{ entry: { key: "games", value: 7n } }] });
  await environment.tick();
  const put = transactionOf(peer.last.items[1] ?? assert.fail()).then(0);
  assert.deepEqual(put?.valueArray(), ASCII.encode("abc"));
  assert.deepEqual(put?.keyArray(), ASCII.encode("key"));
  const got = watch(space.get("key"));
  await environment.tick();
  peer.last.reply({ sequence: 2, results: [{ entry: { key: "key", value: "abc" } }] });
  await environment.tick();
  assert.equal(got.value?.keyBytes.buffer.byteLength, 3, "no view keeps the frame alive");
  assert.equal(got.value?.value.buffer.byteLength, 3);
});

const player: Codec<{ name: string }> = json();

for (const [what, codec, value] of [
  ["undefined as JSON", json<unknown>(), undefined],
  ["a cycle as JSON", json<unknown>(), cycle()],
  ["a bigint within JSON", json<unknown>(), { big: 1n }],
  ["a number as text", text, 12],
  ["a string as bytes", bytes, "abc"],
  ["a fraction as a number", numbers, 1.5],
  ["a number beyond 64 bits", numbers, 2n ** 63n],
  ["what a codec of one's own throws", { ...player, encode: () => raise() }, { name: "x" }],
] as [string, Codec<unknown>, unknown][]) {
  test(`${what} is an invalid argument, and nothing is sent`, async () => {
    const { client, peer, environment } = await connected();
    const put = watch(client.space("default", codec).put("k", value));
    await environment.tick();
    assert.equal(errorOf(put).code, "invalid_argument");
    assert.equal(errorOf(put).outcome, "not_submitted");
    assert.equal(peer.last.frames.length, 0);
  });
}

function cycle(): unknown {
  const object: Record<string, unknown> = {};
  object["self"] = object;
  return object;
}

function raise(): never {
  throw new Error("mine");
}

test("a value that can't be decoded hurts only who looks at it", async () => {
  const { client, peer, environment } = await connected();
  const space = client.space("default", json<unknown>());
  peer.answer = ({ sequence }) => ({
    sequence,
    results: [
      {
        entries: [
          { key: "good", value: "1" },
          { key: "bad", value: "{" },
        ],
      },
    ],
  });
  const page = watch(space.range().page());
  await environment.tick();
  const [good, bad] = page.value?.entries ?? [];
  assert.equal(good?.value, 1);
  assert.equal(bad?.key, "bad");
  assert.throws(() => bad?.value, { name: "DompError", message: /"bad"/ });
});

test("keys are checked before anything is sent", async () => {
  const { client, environment } = await connected();
  const space = client.space("default", text);
  const wrong: [unknown, string][] = [
    ["", "invalid_argument"],
    [new Uint8Array(0), "invalid_argument"],
    ["x".repeat(1025), "too_large"],
    ["ü".repeat(513), "too_large"],
    ["half \ud800 a pair", "invalid_argument"],
    [17, "invalid_argument"],
  ];
  for (const [key, code] of wrong) {
    const got = watch(space.get(key as string));
    await environment.tick();
    assert.equal(errorOf(got).code, code, JSON.stringify(key));
  }
  assert.equal(keyBytes("x".repeat(1024)).length, 1024);
  assert.equal(keyBytes("\u{1f600}").length, 4, "a proper pair is well-formed");
});

test("values over a mebibyte are refused before anything is sent", async () => {
  const { client, peer, environment } = await connected();
  const space = client.space("default", bytes);
  const over = watch(space.put("k", new Uint8Array(1_048_577)));
  watch(space.put("k", new Uint8Array(1_048_576)));
  await environment.tick();
  assert.equal(errorOf(over).code, "too_large");
  assert.equal(peer.last.items.length, 1);
});

test("the end of a prefix, and the key behind a key, in the order of bytes", () => {
  const end = (...key: number[]): number[] | undefined => {
    const found = prefixEnd(Uint8Array.from(key));
    return found === undefined ? undefined : [...found];
  };
  assert.deepEqual(end(97, 47), [97, 48]);
  assert.deepEqual(end(97, 255, 255), [98]);
  assert.equal(end(255, 255), undefined);
  assert.equal(end(), undefined);
  assert.deepEqual(keyAfter(Uint8Array.of(1)), Uint8Array.of(1, 0));
  const full = new Uint8Array(1024).fill(7);
  const after = keyAfter(full);
  assert.equal(after?.length, 1024);
  assert.equal(after?.[1023], 8);
  assert.equal(keyAfter(new Uint8Array(1024).fill(255)), undefined);
});

test("the text of keys is ordered as their bytes are", () => {
  const keys = ["", "a", "a\u0000", "aa", "b", "ü", "世", "\u{1f600}"].map((key) =>
    ASCII.encode(key),
  );
  const ordered = [...keys].sort(Buffer.compare).map(orderedText);
  assert.deepEqual([...ordered].sort(), ordered);
  const long = new Uint8Array(5_000).fill(200);
  assert.equal(orderedText(long).length, 5_000);
});

test("a request id is text, and comes back from it", () => {
  const token = Uint8Array.from({ length: 56 }, (_, i) => (i * 37) % 256);
  const id = `${sessionText(token)}.4294967295.17`;
  assert.match(id, /^[\w-]+\.4294967295\.17$/);
  const parsed = parseRequestId(id);
  assert.deepEqual(parsed.sessionBytes, token);
  assert.deepEqual([parsed.space, parsed.sequence], [2 ** 32 - 1, 17]);
  assert.equal(parseRequestId("abcd.0.1").space, 0);
  for (const wrong of [
    "",
    "abc",
    "abc.1",
    "abc.1.0",
    "abc.1.-1",
    "abc.-1.1",
    "abc.4294967296.1",
    "a b.1.1",
    `${id}.1`,
    "abc.1.99999999999999999",
  ]) {
    assert.throws(() => parseRequestId(wrong), { code: "invalid_argument" }, wrong);
  }
});

test("a session is known again under the token of another connection", () => {
  const token = Uint8Array.from({ length: 56 }, (_, i) => i);
  const renewed = token.map((byte, at) => (at < 24 ? byte : byte + 1));
  assert.ok(isSameSession(token, renewed));
  assert.ok(
    !isSameSession(
      token,
      token.map((byte, at) => (at === 23 ? 0 : byte)),
    ),
  );
  assert.ok(!isSameSession(token, new Uint8Array(0)));
});

test("only WebSocket addresses are taken, http stands for them", () => {
  assert.equal(webSocketUrl("ws://127.0.0.1:7400"), "ws://127.0.0.1:7400/v1");
  assert.equal(webSocketUrl("https://db.example/x"), "wss://db.example/x");
  for (const wrong of ["127.0.0.1:7400", "ftp://x", "", "ws://x/#y"]) {
    assert.throws(() => webSocketUrl(wrong), { code: "invalid_argument" }, wrong);
  }
});

test("an error tells code, outcome and whether to try again", () => {
  const plain = new DompError("overloaded", "busy");
  assert.deepEqual(
    [plain.name, plain.message, plain.outcome, plain.retryable],
    ["DompError", "overloaded: busy", "not_submitted", true],
  );
  const unknown = new DompError("overloaded", "busy", { outcome: "unknown" });
  assert.equal(unknown.retryable, false, "what may have happened is not to be repeated");
  assert.equal(new DompError("timeout", "late").retryable, false);
  assert.equal(new DompError("timeout", "late", { outcome: "not_submitted" }).retryable, true);
  assert.equal(new DompError("closed", "over", { outcome: "not_submitted" }).retryable, false);
});

test("a key that begins with a byte order mark keeps it", async () => {
  const { client, peer, environment } = await connected();
  const key = "\ufeffkey";
  peer.answer = ({ sequence }) => ({ sequence, results: [{ entry: { key, value: "v" } }] });
  const got = watch(client.space("default", text).get(key));
  await environment.tick();
  assert.equal(got.value?.key, key);
});
