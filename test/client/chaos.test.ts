// A peer that loses, breaks, refuses and forgets by the roll of seeded dice. Whatever it does: what
// was acknowledged happened once, what was refused never happened, and every call settles in time.
import assert from "node:assert/strict";
import { test } from "node:test";
import { numbers } from "../../src/client/codecs.js";
import { DompError } from "../../src/client/errors.js";
import { connected } from "./support/connect.js";
import {
  type Answer,
  firstKey,
  outcomeRequestOf,
  Peer,
  type PeerConnection,
  type SentItem,
} from "./support/peer.js";

/** A small generator of repeatable dice (mulberry32). */
function diceOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A server with sessions: every request id takes effect at most once. */
class Server {
  readonly applied = new Map<string, number>();
  readonly happened = new Map<string, number>();
  #session = 0;
  #decided = new Map<number, Answer | "fenced">();
  #ackedBelow = 1;
  readonly #dice: () => number;

  constructor(dice: () => number) {
    this.#dice = dice;
  }

  count(name: string): void {
    this.happened.set(name, (this.happened.get(name) ?? 0) + 1);
  }

  /** A new session, where the old one is not to be resumed. */
  welcome(connection: PeerConnection): { session: Uint8Array; resumed: boolean } {
    const presented = connection.hello?.session;
    const isForgotten = this.#dice() < 0.1;
    if (presented !== null && presented?.[0] === this.#session && !isForgotten) {
      this.count("session resumed");
      return { session: new Uint8Array(56).fill(this.#session), resumed: true };
    }
    if (this.#session > 0) this.count("session lost");
    this.#session += 1;
    this.#decided = new Map();
    this.#ackedBelow = 1;
    return { session: new Uint8Array(56).fill(this.#session), resumed: false };
  }

  take(item: SentItem, connection: PeerConnection): Answer | undefined {
    const { sequence } = item;
    this.#ackedBelow = Math.max(this.#ackedBelow, connection.lastFrame.ackedBelow);
    for (const old of this.#decided.keys()) if (old < this.#ackedBelow) this.#decided.delete(old);
    const roll = this.#dice();
    if (roll < 0.1) {
      this.count("turned away");
      return { sequence, code: this.#dice() < 0.8 ? "overloaded" : "forbidden" };
    }
    const answer = this.#decide(item);
    if (roll < 0.3) {
      this.count("reply lost");
      return undefined;
    }
    return answer;
  }

  #decide(item: SentItem): Answer {
    const { sequence } = item;
    if (item.kind === "outcome") {
      const request = outcomeRequestOf(item);
      if (request.sessionArray()?.[0] !== this.#session) {
        return { sequence, code: "session_expired" };
      }
      const target = Number(request.sequence());
      if (target < this.#ackedBelow) return { sequence, code: "request_id_stale" };
      const decided = this.#decided.get(target);
      if (decided !== undefined && decided !== "fenced" && decided.code === undefined) {
        return { ...decided, sequence, outcomeApplied: true };
      }
      this.#decided.set(target, "fenced");
      this.count("fenced");
      return { sequence };
    }
    if (sequence < this.#ackedBelow) return { sequence, code: "request_id_stale" };
    const decided = this.#decided.get(sequence);
    if (decided === "fenced") return { sequence, code: "fenced" };
    if (decided !== undefined) {
      this.count("answered again");
      return { ...decided, replayed: true };
    }
    const key = firstKey(item);
    const isRefused = this.#dice() < 0.05;
    const answer: Answer = isRefused
      ? { sequence, code: "out_of_bounds" }
      : { sequence, revision: 1n, results: [{ number: 1n }] };
    if (!isRefused) this.applied.set(key, (this.applied.get(key) ?? 0) + 1);
    this.#decided.set(sequence, answer);
    return answer;
  }
}

const SEEDS = 60;
const REQUESTS = 120;
const TIMEOUT_MS = 1_500;

test(`${SEEDS} seeds of chaos: once, refused is absent, nothing hangs`, async (context) => {
  const happened = new Map<string, number>();
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    for (const [name, count] of await chaos(seed)) {
      happened.set(name, (happened.get(name) ?? 0) + count);
    }
  }
  for (const name of NAMED) {
    const count = happened.get(name) ?? 0;
    context.diagnostic(`${name}: ${count}`);
    assert.ok(count > 0, `it never happened that: ${name}`);
  }
});

const NAMED = [
  "session resumed",
  "session lost",
  "turned away",
  "reply lost",
  "answered again",
  "fenced",
  "acknowledged",
  "unknown",
  "not_applied",
  "not_submitted",
  "outcome applied",
  "outcome never",
];

async function chaos(seed: number): Promise<Map<string, number>> {
  const dice = diceOf(seed);
  const server = new Server(dice);
  const peer = new Peer();
  peer.autoWelcome = (connection) => server.welcome(connection);
  const { client, environment } = await connected({}, peer);
  environment.dice = Array.from({ length: 5_000 }, dice);
  const space = client.space("default", numbers);
  const fates = new Map<string, string>();
  let isLate = false;

  const one = async (key: string): Promise<void> => {
    const deadline = environment.now() + TIMEOUT_MS;
    try {
      assert.equal(await space.add(key, 1, { timeoutMs: TIMEOUT_MS }), 1n);
      fates.set(key, "acknowledged");
    } catch (error) {
      if (!(error instanceof DompError)) throw error;
      fates.set(key, error.outcome);
      if (error.outcome === "unknown") await resolve(key, error);
    } finally {
      isLate ||= environment.now() > deadline + 2 * TIMEOUT_MS + 2;
    }
  };
  const resolve = async (key: string, { requestId }: DompError): Promise<void> => {
    assert.ok(requestId !== undefined, "what is unknown can be asked for");
    try {
      const { outcome } = await space.outcome(requestId, key, { timeoutMs: TIMEOUT_MS });
      fates.set(key, `outcome ${outcome}`);
    } catch (error) {
      assert.ok(error instanceof DompError && error.outcome === "unknown", String(error));
    }
  };

  peer.answer = (item, connection) => server.take(item, connection);
  const calls: Promise<void>[] = [];
  for (let i = 0; i < REQUESTS; i += 1) {
    calls.push(one(`key/${i}`));
    await environment.advance(Math.floor(dice() * 30));
    if (dice() < 0.05 && peer.last.isOpen) peer.last.drop();
    peer.isUp = dice() < 0.8;
  }
  peer.isUp = true;
  await environment.advance(3 * TIMEOUT_MS);
  await Promise.all(calls);
  assert.equal(client.pending, 0, `seed ${seed}`);
  assert.equal(isLate, false, `seed ${seed}: a call outlived its deadline`);

  for (const [key, fate] of fates) {
    const applied = server.applied.get(key) ?? 0;
    const where = `seed ${seed}: ${key} was ${fate} and applied ${applied} times`;
    server.count(fate);
    assert.ok(applied <= 1, where);
    if (fate === "acknowledged" || fate === "outcome applied") assert.equal(applied, 1, where);
    else if (fate !== "unknown") assert.equal(applied, 0, where);
  }
  assert.equal(fates.size, REQUESTS);
  await client.close();
  return server.happened;
}
