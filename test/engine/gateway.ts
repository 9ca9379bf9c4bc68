// A small gateway for tests: connections that send transactions through the engine and await replies.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import {
  callerPrefix,
  type Engine,
  type EngineError,
  type EngineOptions,
  openEngine,
  RecordKind,
} from "../../src/engine/index.js";
import {
  buildFrame,
  FrameKind,
  frameKind,
  type Reply,
  readReplies,
} from "../../src/protocol/frame.js";
import { readWelcome, type Welcome } from "../../src/protocol/hello.js";
import { decodeResults } from "../../src/protocol/results.js";
import { encodeTransaction, type Operation } from "../../src/protocol/transaction.js";

/** The space `default`. */
export const SPACE = 1;
/** Nothing here takes longer, on the busiest machine. */
const PATIENCE_MS = 60_000;

const directories: string[] = [];
process.on("exit", () => {
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
});

/** A directory of its own, removed when the process ends. */
export function testDirectory(): string {
  const directory = mkdtempSync(path.join(tmpdir(), "domp-engine-"));
  directories.push(directory);
  return directory;
}

export const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
export const text = (value: Uint8Array): string => new TextDecoder().decode(value);

export function put(
  key: string,
  value: Uint8Array | string,
  idempotencyKey?: Uint8Array,
): Uint8Array {
  const held = typeof value === "string" ? bytes(value) : value;
  const then = [{ kind: "put", key: bytes(key), value: held }] as const;
  return encodeTransaction({ space: SPACE, then, idempotencyKey });
}

export function get(key: string): Uint8Array {
  return transaction({ kind: "get", key: bytes(key) });
}

function transaction(...then: Operation[]): Uint8Array {
  return encodeTransaction({ space: SPACE, then });
}

/** What a `get` found. */
export function found(reply: Reply): string | undefined {
  const value = decodeResults(reply.payload).results[0]?.entry?.value;
  return value instanceof Uint8Array ? text(value) : undefined;
}

export class TestGateway {
  /** Set by `open`. */
  engine!: Engine;
  /** Frames by `slot/generation`, as copies, in order of arrival. */
  readonly frames = new Map<string, Uint8Array[]>();
  failure: EngineError | undefined;
  wakeUps = 0;
  /** While true, wake-ups are left alone. */
  deaf = false;
  #waiting: (() => void)[] = [];

  static async open(options: EngineOptions): Promise<TestGateway> {
    const gateway = new TestGateway();
    gateway.engine = await openEngine(
      options,
      () => gateway.#wake(),
      (error) => {
        gateway.failure = error;
      },
    );
    return gateway;
  }

  #wake(): void {
    this.wakeUps += 1;
    if (this.deaf) return;
    this.drain();
  }

  drain(): void {
    this.engine.drain((slot, generation, views) => {
      const address = `${slot}/${generation}`;
      const frames = this.frames.get(address) ?? [];
      // Copies: the views are valid during the call only.
      frames.push(...views.map((view) => view.slice()));
      this.frames.set(address, frames);
    });
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resume of waiting) resume();
  }

  /** Resolves at the next drain, or soon. */
  async #drained(): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, 50);
      this.#waiting.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  /** Pushes, however long it takes to find room. */
  async push(
    kind: RecordKind,
    slot: number,
    generation: number,
    body: Uint8Array,
    prefix?: Uint8Array,
  ): Promise<void> {
    while (!this.engine.push(kind, slot, generation, body, prefix)) {
      if (this.failure !== undefined) throw this.failure;
      await this.#drained();
    }
  }

  async attach(
    slot: number,
    generation: number,
    token: Uint8Array = new Uint8Array(0),
  ): Promise<Welcome> {
    const prefix = callerPrefix(7n, false);
    await this.push(RecordKind.attach, slot, generation, token, prefix);
    this.engine.flush();
    return readWelcome(await this.frame(slot, generation));
  }

  /** Sends payloads as one frame, the first under `sequence`. */
  async submit(
    slot: number,
    generation: number,
    sequence: number,
    ...payloads: Uint8Array[]
  ): Promise<void> {
    const items = payloads.map((payload, at) => ({
      sequence: sequence + at,
      kind: "transaction" as const,
      payload,
    }));
    const frame = buildFrame(SPACE, items, sequence, 60_000);
    await this.push(RecordKind.frame, slot, generation, frame);
    this.engine.flush();
  }

  async frame(slot: number, generation: number): Promise<Uint8Array> {
    const until = Date.now() + PATIENCE_MS;
    for (;;) {
      const frame = this.frames.get(`${slot}/${generation}`)?.shift();
      if (frame !== undefined) return frame;
      if (this.failure !== undefined) throw this.failure;
      if (Date.now() > until) throw new Error(`no frame came for ${slot}/${generation}`);
      await this.#drained();
    }
  }

  /** So many replies, in whatever frames they come. */
  async replies(slot: number, generation: number, count: number): Promise<Reply[]> {
    const replies: Reply[] = [];
    while (replies.length < count) {
      const frame = await this.frame(slot, generation);
      if (frameKind(frame) !== FrameKind.replies) throw new Error("not a replies frame");
      replies.push(...readReplies(frame));
    }
    if (replies.length !== count) throw new Error(`${replies.length} replies, not ${count}`);
    return replies;
  }

  async get(slot: number, sequence: number, key: string): Promise<string | undefined> {
    await this.submit(slot, 1, sequence, get(key));
    const [reply] = await this.replies(slot, 1, 1);
    if (reply?.code !== undefined) throw new Error(reply.code);
    return reply === undefined ? undefined : found(reply);
  }
}
