/**
 * A real server in the test's own process, on free ports and a fresh directory, and a client that
 * speaks raw frames. What must be killed, or come from the command line, is in server.ts.
 */

import assert from "node:assert/strict";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { ByteBuffer } from "flatbuffers";
import { WebSocket } from "ws";
import { loadConfig } from "../../src/config/index.js";
import {
  buildFrame,
  type FrameItem,
  FrameKind,
  frameKind,
  type Reply,
  readReplies,
  splitIntoParts,
} from "../../src/protocol/frame.js";
import * as wire from "../../src/protocol/generated/wire.js";
import {
  buildHello,
  type Goodbye,
  type Hello,
  readGoodbye,
  readWelcome,
  type Welcome,
} from "../../src/protocol/hello.js";
import { decodeResults } from "../../src/protocol/results.js";
import { encodeTransaction, type Operation } from "../../src/protocol/transaction.js";
import { createLogger, type RunningServer, startServer } from "../../src/server/index.js";
import { cleanUp } from "./clean-up.js";
import { freshDirectory } from "./directories.js";

export const FULL_TOKEN = "full-token-of-the-tests";
export const READ_TOKEN = "read-token-of-the-tests";
/** For `auth.tokens`: one that may do everything, one that may read. */
export const TOKENS = JSON.stringify([
  { name: "writer", token: FULL_TOKEN, access: "full" },
  { name: "reader", token: READ_TOKEN, access: "read" },
]);

export interface TestServer extends RunningServer {
  /** The log's lines so far. */
  readonly logged: readonly string[];
  readonly httpUrl: string;
  readonly adminUrl: string;
  readonly directory: string;
}

/** Starts a server with these settings; it stops with the test. */
export async function startTestServer(
  t: Pick<TestContext, "after">,
  settings: Readonly<Record<string, string>> = {},
): Promise<TestServer> {
  const directory = settings["data.directory"] ?? join(freshDirectory(t), "data");
  const { config } = loadConfig({
    cwd: tmpdir(),
    environment: {},
    flags: {
      "clients.port": "0",
      "admin.port": "0",
      "clients.drain_timeout": "2s",
      "data.directory": directory,
      ...settings,
    },
  });
  const logged: string[] = [];
  const target = { write: (line: string) => logged.push(line) };
  const log = await createLogger({ level: "debug", format: "json" }, target);
  const server = await startServer(config, { log, version: "0.0.0-test" });
  cleanUp(t, () => server.stop());
  const scheme = config.clients.tls_cert === "" ? "http" : "https";
  return {
    address: server.address,
    url: server.url,
    port: server.port,
    adminAddress: server.adminAddress,
    adminPort: server.adminPort,
    report: server.report,
    fatal: server.fatal,
    drain: () => server.drain(),
    stop: () => server.stop(),
    logged,
    directory,
    httpUrl: `${scheme}://${server.address}`,
    adminUrl: `http://${server.adminAddress}`,
  };
}

export interface Closed {
  readonly code: number;
  readonly reason: string;
}

/** A WebSocket that keeps what it got until it is asked for. */
export class RawClient {
  readonly socket: WebSocket;
  readonly closed: Promise<Closed>;
  readonly #frames: Uint8Array[] = [];
  readonly #waiting: ((frame: Uint8Array | undefined) => void)[] = [];
  #over = false;

  constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on("message", (message: Buffer) => {
      const frame = new Uint8Array(message);
      const waiting = this.#waiting.shift();
      if (waiting === undefined) this.#frames.push(frame);
      else waiting(frame);
    });
    socket.on("error", () => undefined);
    this.closed = new Promise((resolve) => {
      socket.on("close", (code, reason) => {
        this.#over = true;
        for (const waiting of this.#waiting.splice(0)) waiting(undefined);
        resolve({ code, reason: reason.toString() });
      });
    });
  }

  /** In parts where it is too large for a message. */
  send(frame: Uint8Array): void {
    for (const message of splitIntoParts(Uint8Array.from(frame))) this.socket.send(message);
  }

  /** The next frame, or undefined once the connection is closed. */
  next(): Promise<Uint8Array | undefined> {
    const frame = this.#frames.shift();
    if (frame !== undefined || this.#over) return Promise.resolve(frame);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  async nextOf(kind: FrameKind): Promise<Uint8Array> {
    const frame = await this.next();
    assert.ok(frame !== undefined, "the connection was closed without an answer");
    if (frameKind(frame) === FrameKind.goodbye && kind !== FrameKind.goodbye) {
      assert.fail(`goodbye: ${JSON.stringify(readGoodbye(frame))}`);
    }
    assert.equal(frameKind(frame), kind);
    return frame;
  }

  async hello(hello: Hello = {}): Promise<Welcome> {
    this.send(buildHello(hello));
    return readWelcome(await this.nextOf(FrameKind.welcome));
  }

  async goodbye(): Promise<Goodbye> {
    return readGoodbye(await this.nextOf(FrameKind.goodbye));
  }

  /** Sends a frame of transactions for one space and waits for all their replies, in the order of the requests. */
  async submit(items: readonly FrameItem[], timeoutMs = 5_000): Promise<Reply[]> {
    this.send(buildFrame(spaceOf(items), items, 1, timeoutMs));
    return this.replies(items.length);
  }

  async replies(count: number): Promise<Reply[]> {
    const replies: Reply[] = [];
    while (replies.length < count)
      replies.push(...readReplies(await this.nextOf(FrameKind.replies)));
    return replies.sort((a, b) => a.sequence - b.sequence);
  }

  close(): Promise<Closed> {
    this.socket.close();
    return this.closed;
  }
}

/** Connects; rejects with the status where the door is shut. */
export function connect(
  t: Pick<TestContext, "after">,
  url: string,
  options: { headers?: Record<string, string>; ca?: string; autoPong?: boolean } = {},
): Promise<RawClient> {
  const { headers, ca, autoPong = true } = options;
  const socket = new WebSocket(url, {
    perMessageDeflate: false,
    autoPong,
    ...(headers && { headers }),
    ...(ca && { ca }),
  });
  const client = new RawClient(socket);
  cleanUp(t, () => socket.terminate());
  return new Promise((resolve, reject) => {
    socket.once("open", () => resolve(client));
    socket.once("unexpected-response", (request, response) => {
      reject(new Error(`status ${response.statusCode}`));
      request.destroy();
    });
    socket.once("error", reject);
  });
}

export const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
export const put = (key: string, value: string): Operation => ({
  kind: "put",
  key: bytes(key),
  value: bytes(value),
});
export const get = (key: string): Operation => ({ kind: "get", key: bytes(key) });

/** A request of these operations. */
export function request(sequence: number, space: number, ...then: Operation[]): FrameItem {
  return { sequence, kind: "transaction", payload: encodeTransaction({ space, then }) };
}

/** The text that a reply's first operation, a get, found. */
export function foundText(reply: Reply | undefined): string | undefined {
  assert.equal(reply?.code, undefined);
  const value = decodeResults(reply?.payload ?? new Uint8Array(0)).results[0]?.entry?.value;
  return value instanceof Uint8Array ? new TextDecoder().decode(value) : undefined;
}

/** The space of a frame's transactions, as the first of them says. */
function spaceOf([first]: readonly FrameItem[]): number {
  assert.ok(first !== undefined);
  return wire.Transaction.getRootAsTransaction(new ByteBuffer(first.payload)).space();
}
