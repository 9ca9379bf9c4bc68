/** Stand-ins for the engine, a WebSocket and an HTTP response, which record what was done to them. */

import type { RecordKind, Visit } from "../../src/engine/index.js";
import type { TrafficEngine } from "../../src/gateway/seam.js";
import type { Address } from "../../src/gateway/slots.js";
import type { Peer, Response } from "../../src/gateway/transport.js";

export interface PushedRecord {
  readonly kind: RecordKind;
  readonly slot: number;
  readonly generation: number;
  readonly body: Uint8Array;
  readonly prefix: Uint8Array | undefined;
}

export class FakeEngine implements TrafficEngine {
  /** Records that still fit. */
  room = Number.POSITIVE_INFINITY;
  flushes = 0;
  readonly records: PushedRecord[] = [];
  #answers: { address: Address; frame: Uint8Array }[] = [];

  push(
    kind: RecordKind,
    slot: number,
    generation: number,
    body: Uint8Array | ArrayBuffer,
    prefix?: Uint8Array,
  ): boolean {
    if (this.room <= 0) return false;
    this.room -= 1;
    this.records.push({
      kind,
      slot,
      generation,
      body: new Uint8Array(body).slice(),
      prefix: prefix?.slice(),
    });
    return true;
  }

  flush(): void {
    this.flushes += 1;
  }

  /** Lays an answer ready for the next `drain`. */
  answer(address: Address, frame: Uint8Array): void {
    this.#answers.push({ address, frame });
  }

  drain(visit: Visit): void {
    const groups = new Map<string, { address: Address; views: Uint8Array[] }>();
    for (const { address, frame } of this.#answers) {
      const name = `${address.slot}/${address.generation}`;
      const group = groups.get(name) ?? { address, views: [] };
      group.views.push(frame.slice());
      groups.set(name, group);
    }
    this.#answers = [];
    for (const { address, views } of groups.values()) {
      visit(address.slot, address.generation, views);
      // Like the ring's: what was shown is soon something else.
      for (const view of views) view.fill(0xee);
    }
  }
}

/** A WebSocket that stops taking bytes when told to. */
export class FakePeer implements Peer<unknown> {
  readonly sent: Uint8Array[] = [];
  ended: { code: number; reason: string } | undefined;
  /** Bytes that wait because the client does not read. */
  buffered = 0;
  reading = true;
  /** How often several messages went out in one piece. */
  corks = 0;
  onClose: () => void = () => undefined;
  /** Bytes of the piece that is being put together. */
  #corked: number | undefined;

  send(message: Uint8Array): number {
    this.#assertOpen();
    this.sent.push(message.slice());
    if (this.#corked !== undefined) {
      this.#corked += message.length;
      return 1;
    }
    if (this.reading) return 1;
    this.buffered += message.length;
    return 0;
  }

  getBufferedAmount(): number {
    this.#assertOpen();
    return this.buffered;
  }

  cork(run: () => void): void {
    this.#assertOpen();
    this.corks += 1;
    this.#corked = 0;
    run();
    if (!this.reading) this.buffered += this.#corked;
    this.#corked = undefined;
  }

  end(code: number, reason: string): void {
    this.#assertOpen();
    this.ended = { code, reason };
    this.onClose();
  }

  close(): void {
    this.#assertOpen();
    this.ended = { code: 1006, reason: "" };
    this.onClose();
  }

  getRemoteAddressAsText(): ArrayBuffer {
    this.#assertOpen();
    return new Uint8Array(Buffer.from("192.0.2.1")).buffer;
  }

  getUserData(): unknown {
    return undefined;
  }

  /** Like the real one: touching it after its end is a fault. */
  #assertOpen(): void {
    if (this.ended !== undefined) throw new Error("the WebSocket was used after it was closed");
  }
}

/** A response that, like the real one, must not be touched once it is over. */
export class FakeResponse implements Response {
  status = "";
  readonly headers = new Map<string, string>();
  body: string | undefined;
  closed = false;
  aborted = false;
  /** Bytes of a body that the caller still reads. */
  room = Number.POSITIVE_INFINITY;
  #partial: Uint8Array[] = [];
  #onWritable: (offset: number) => boolean = () => true;
  #onAborted: () => void = () => undefined;
  #onData: (chunk: ArrayBuffer, isLast: boolean) => void = () => undefined;

  /** The client went away. */
  abort(): void {
    this.aborted = true;
    this.#onAborted();
  }

  /** The client sent a part of its body. */
  receive(text: string, isLast: boolean): void {
    const bytes = new TextEncoder().encode(text);
    this.#onData(bytes.buffer, isLast);
    bytes.fill(0);
  }

  json(): { error?: Record<string, unknown> } & Record<string, unknown> {
    return JSON.parse(this.body ?? "null");
  }

  writeStatus(status: string): Response {
    this.#assertUsable();
    this.status = status;
    return this;
  }

  writeHeader(name: string, value: string): Response {
    this.#assertUsable();
    this.headers.set(name.toLowerCase(), value);
    return this;
  }

  end(body: string | Uint8Array, closeConnection = false): Response {
    this.#assertUsable();
    this.body = typeof body === "string" ? body : new TextDecoder().decode(body);
    this.closed = closeConnection;
    return this;
  }

  tryEnd(rest: Uint8Array, totalBytes: number): [boolean, boolean] {
    this.#assertUsable();
    const taken = rest.slice(0, Math.max(0, Math.min(this.room, rest.length)));
    this.room -= taken.length;
    this.#partial.push(taken);
    if (this.getWriteOffset() < totalBytes) return [false, false];
    this.body = Buffer.concat(this.#partial).toString();
    return [true, true];
  }

  getWriteOffset(): number {
    return this.#partial.reduce((sum, { length }) => sum + length, 0);
  }

  onWritable(handler: (offset: number) => boolean): Response {
    this.#onWritable = handler;
    return this;
  }

  /** The caller reads so many more bytes. */
  read(bytes: number): void {
    this.room = bytes;
    this.#onWritable(this.getWriteOffset());
  }

  close(): Response {
    this.#assertUsable();
    this.abort();
    return this;
  }

  getRemoteAddressAsText(): ArrayBuffer {
    this.#assertUsable();
    return new Uint8Array(Buffer.from("192.0.2.1")).buffer;
  }

  endWithoutBody(_length?: number, closeConnection = false): Response {
    return this.end("", closeConnection);
  }

  onAborted(handler: () => void): Response {
    this.#onAborted = handler;
    return this;
  }

  onData(handler: (chunk: ArrayBuffer, isLast: boolean) => void): Response {
    this.#onData = handler;
    return this;
  }

  cork(run: () => void): Response {
    this.#assertUsable();
    run();
    return this;
  }

  upgrade(): void {
    this.#assertUsable();
  }

  #assertUsable(): void {
    if (this.aborted || this.body !== undefined) {
      throw new Error("the response was used after it was over");
    }
  }
}
