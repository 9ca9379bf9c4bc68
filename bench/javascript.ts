// biome-ignore-all lint/suspicious/noThenProperty: `then` is a branch of a transaction, an array; never callable
/** What of the way of a request is JavaScript: codecs, frames, the SDK, the seam to the engine. */

import path from "node:path";
import { Bench } from "tinybench";
import { connect, json, type Space } from "../src/client/index.js";
import { openEngine } from "../src/engine/index.js";
import { buildFrame, buildReplies, type FrameItem, readReplies } from "../src/protocol/frame.js";
import { parseTransaction } from "../src/protocol/json.js";
import { decodeResults } from "../src/protocol/results.js";
import { encodeTransaction } from "../src/protocol/transaction.js";
import { EngineLine } from "./engine-line.js";
import { progress } from "./progress.js";
import { type Row, rounded, type Value, valuesRow } from "./rows.js";
import { dataDirectory, type World } from "./world.js";

/** The space `default`. */
const SPACE = 1;
/** Operations in one timed call of the tasks that take nanoseconds; and in a full frame. */
const BATCH = 64;
/** Keys that are written and read. */
const KEYS = 1_000;

interface Player {
  readonly name: string;
  readonly gold: number;
}

/** A task and the number of operations one call of it does. */
interface Task {
  readonly name: string;
  readonly operations: number;
  readonly run: () => unknown;
}

export async function measureJavaScript(world: World): Promise<readonly Row[]> {
  const directory = path.join(dataDirectory(world, "engine"), "data");
  const line = new EngineLine();
  const engine = await openEngine({ directory }, () => line.onWake());
  try {
    line.join(engine);
    const client = await connect("ws://127.0.0.1", { transport: line.transport(2) });
    try {
      const space = client.space("default", json<Player>());
      const tasks = [...(await seamTasks(line)), ...sdkTasks(space)];
      const values = await timed(world, [...codecTasks(await aReadEntry(line)), ...tasks]);
      return [valuesRow("javascript", "domp", values)];
    } finally {
      await client.close();
    }
  } finally {
    await engine.close();
  }
}

/** Nanoseconds an operation of each task: the median call. */
async function timed(
  world: World,
  tasks: readonly Task[],
): Promise<Readonly<Record<string, Value>>> {
  const time = world.options.seconds * 1_000;
  const bench = new Bench({ time, warmupTime: time / 4, throws: true });
  for (const { name, run } of tasks) bench.add(name, run);
  await bench.run();
  progress("javascript: measured");
  return Object.fromEntries(
    tasks.map(({ name, operations }) => {
      const result = bench.getTask(name)?.result;
      if (result?.state !== "completed") throw new Error(`${name} was not measured`);
      return [name, rounded((result.latency.p50 * 1e6) / operations)];
    }),
  );
}

/** Tasks that stay in JavaScript. `entry` is the payload of a reply to a get. */
function codecTasks(entry: Uint8Array): readonly Task[] {
  const items = itemsOf("put", 1);
  const replies = buildReplies(
    SPACE,
    items.map(({ sequence }) => ({
      sequence,
      revision: 1n,
      code: undefined,
      retryable: false,
      outcome: undefined,
      applied: true,
      replayed: false,
      outcomeApplied: false,
      payload: new Uint8Array(),
    })),
  );
  const codec = json<Player>();
  const player = { name: "Ada", gold: 100 };
  const encoded = codec.encode(player);
  const text = JSON.stringify({
    space: "default",
    then: [{ put: { key: "player/ada", value: "gold" } }],
  });
  const each = (run: () => unknown) => () => {
    for (let count = 0; count < BATCH; count += 1) run();
  };
  const task = (name: string, run: () => unknown): Task => ({ name, operations: BATCH, run });
  return [
    task(
      "transaction_encode_ns",
      each(() => aTransaction("put", 7)),
    ),
    task("frame_build_ns", () => buildFrame(SPACE, items, 1, 1_000)),
    task("replies_read_ns", () => readReplies(replies)),
    task(
      "entry_decode_ns",
      each(() => decodeResults(entry)),
    ),
    task(
      "json_encode_ns",
      each(() => codec.encode(player)),
    ),
    task(
      "json_decode_ns",
      each(() => codec.decode(encoded)),
    ),
    task(
      "json_transaction_ns",
      each(() => parseTransaction(text)),
    ),
  ];
}

/** Tasks that go to the engine and back: one frame at a time, with one item or many. */
async function seamTasks(line: EngineLine): Promise<readonly Task[]> {
  await line.attach(1);
  let next = 1;
  const round = (kind: "get" | "put", count: number) => async () => {
    const items = itemsOf(kind, next, count);
    next += count;
    await line.exchange(1, buildFrame(SPACE, items, next - count, 10_000), count);
  };
  for (let first = 0; first < KEYS; first += BATCH) await round("put", BATCH)();
  return [
    { name: "seam_get_ns", operations: 1, run: round("get", 1) },
    { name: "seam_get_of_64_ns", operations: BATCH, run: round("get", BATCH) },
    { name: "seam_put_ns", operations: 1, run: round("put", 1) },
    { name: "seam_put_of_64_ns", operations: BATCH, run: round("put", BATCH) },
  ];
}

/** The same by way of the SDK, which gathers what is asked in one tick. */
function sdkTasks(space: Space<Player>): readonly Task[] {
  const many = (run: (key: string) => Promise<unknown>) => () =>
    Promise.all(Array.from({ length: BATCH }, (_, index) => run(`player/${index}`)));
  const player = { name: "Ada", gold: 100 };
  const put = (key: string) => space.put(key, player);
  const get = (key: string) => space.get(key);
  return [
    { name: "sdk_put_of_64_ns", operations: BATCH, run: many(put) },
    { name: "sdk_get_of_64_ns", operations: BATCH, run: many(get) },
    { name: "sdk_get_ns", operations: 1, run: () => get("player/1") },
  ];
}

/** The payload of the reply to a get of a key that is there. */
async function aReadEntry(line: EngineLine): Promise<Uint8Array> {
  await line.attach(3);
  await line.exchange(3, buildFrame(SPACE, itemsOf("put", 1, 1), 1, 10_000), 1);
  const frame = await line.exchange(3, buildFrame(SPACE, itemsOf("get", 2, 1), 2, 10_000), 1);
  const [reply] = readReplies(frame);
  if (reply === undefined || decodeResults(reply.payload).results[0]?.entry === undefined) {
    throw new Error("the engine did not find what was put");
  }
  return reply.payload;
}

function itemsOf(kind: "get" | "put", first: number, count = BATCH): readonly FrameItem[] {
  return Array.from({ length: count }, (_, index) => ({
    sequence: first + index,
    kind: "transaction",
    payload: aTransaction(kind, kind === "get" ? 1 : first + index),
  }));
}

const encoder = new TextEncoder();
const VALUE = new Uint8Array(64).fill(7);

function aTransaction(kind: "get" | "put", number: number): Uint8Array {
  const key = encoder.encode(`entries/${String(number % KEYS).padStart(8, "0")}`);
  const operation =
    kind === "get" ? ({ kind, key } as const) : ({ kind, key, value: VALUE } as const);
  return encodeTransaction({ space: SPACE, guards: [], then: [operation], otherwise: undefined });
}
