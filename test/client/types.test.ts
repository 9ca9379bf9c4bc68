// What the compiler tells the user: each line marked as an error must be one, or tsc fails.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Entry, ErrorName, Page, Space } from "../../src/client/index.js";
import { json, numbers, op, when } from "../../src/client/index.js";

interface Player {
  readonly kind: "human" | "bot";
  readonly gold: number;
}

type Equal<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;

function sure<T extends true>(): T {
  return true as T;
}

/** Never called: it only has to compile. */
export async function typed(space: Space<Player>): Promise<void> {
  await space.put("a", { kind: "bot", gold: 1 });
  // @ts-expect-error a number is no player
  await space.put("a", 5);
  // @ts-expect-error no such kind
  await space.put("a", { kind: "cat", gold: 1 });

  const entry = await space.get("a");
  sure<Equal<typeof entry, Entry<Player> | undefined>>();
  // @ts-expect-error it may not be there
  entry.value;

  const done = await space.submit({
    if: [when.absent("a"), when.equals("b", { kind: "bot", gold: 2 })],
    then: [
      op.put("a", { kind: "human", gold: 3 }),
      op.add("n", 1),
      op.delete("x"),
      op.get("n", numbers),
    ],
    else: [op.get("a"), op.range({ prefix: "p/" }), op.range({ keysOnly: true }), op.count()],
  });
  if (done.applied) {
    const [put, sum, deleted, number] = done.results;
    sure<Equal<typeof put, undefined>>();
    sure<Equal<typeof sum, bigint>>();
    sure<Equal<typeof deleted, boolean>>();
    sure<Equal<typeof number, Entry<bigint> | undefined>>();
    // @ts-expect-error only where a guard failed
    done.failedGuard;
  } else {
    const [got, page, keys, count] = done.results;
    sure<Equal<typeof got, Entry<Player> | undefined>>();
    sure<Equal<typeof page, Page<Player>>>();
    sure<Equal<typeof keys, Page<undefined>>>();
    sure<Equal<typeof count, number>>();
    sure<Equal<typeof done.failedGuard, number>>();
  }
  // @ts-expect-error a string is no player
  await space.submit({ then: [op.put("a", "text")] });
  // @ts-expect-error bounds are a prefix, or from and to
  space.range({ prefix: "a", from: "b" });

  const left: number = await space.transact(async (tx) => {
    const ada = await tx.get("ada");
    sure<Equal<typeof ada, Entry<Player> | undefined>>();
    tx.put("ada", { kind: "human", gold: 1 });
    // @ts-expect-error gold is missing
    tx.put("ada", { kind: "human" });
    tx.as(numbers).put("n", 5n);
    return ada?.value.gold ?? 0;
  });
  assert.equal(typeof left, "number");
  const once = { idempotencyKey: "order-17" };
  const { requestId } = await space.put("a", { kind: "bot", gold: 1 }, once);
  sure<Equal<typeof requestId, string>>();
  sure<Equal<typeof done.requestId, string>>();
  await space.delete("a", { idempotencyKey: Uint8Array.of(1) });
  // @ts-expect-error reads have no idempotency key
  await space.get("a", once.idempotencyKey);
  // @ts-expect-error a key is text or bytes
  await space.add("n", 1, { idempotencyKey: 17 });
  const seen = await space.outcomeOf<number>("order-17");
  if (seen.state === "applied") sure<Equal<typeof seen.result, number>>();
  if (seen.state === "not_applied") sure<Equal<typeof seen.code, ErrorName>>();
  for await (const { value } of space.range()) sure<Equal<typeof value, Player>>();
  for await (const { value } of space.range({ keysOnly: true })) {
    sure<Equal<typeof value, undefined>>();
  }
}

test("the types lead the user: they are checked when this file is compiled", () => {
  assert.equal(typeof typed, "function");
  assert.equal(typeof json<Player>().encode, "function");
});
