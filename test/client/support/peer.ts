// The other end of the wire, at the level of bytes: a test reads what the SDK sent and says what
// comes back. Built on the generated code alone, so that a fault in the SDK's own encoders shows.
import { Builder, ByteBuffer } from "flatbuffers";
import type { Transport, TransportEvents } from "../../../src/client/transport.js";
import { type ErrorName, errors } from "../../../src/protocol/generated/errors.js";
import * as wire from "../../../src/protocol/generated/wire.js";

/** One item of a submitted frame. */
export interface SentItem {
  readonly sequence: number;
  readonly kind: "transaction" | "outcome" | "outcome_of";
  /** As the frame says. */
  readonly space: number;
  readonly payload: Uint8Array;
}

/** A submitted frame, taken apart. */
export interface SentFrame {
  readonly space: number;
  readonly ackedBelow: number;
  readonly timeoutMs: number;
  readonly items: readonly SentItem[];
  readonly byteLength: number;
}

export interface SentHello {
  readonly token: string | null;
  readonly session: Uint8Array | null;
  readonly client: string | null;
}

/** What a reply says. */
export interface Answer {
  readonly sequence: number;
  /** Absent: that of the last request sent under the sequence. */
  readonly space?: number;
  readonly revision?: bigint;
  readonly code?: ErrorName;
  /** Absent: as the table says. */
  readonly retryable?: boolean;
  readonly outcome?: keyof typeof OUTCOMES;
  readonly message?: string;
  readonly retryAfterMs?: number;
  readonly operation?: number;
  readonly guard?: number;
  readonly key?: Uint8Array;
  readonly applied?: boolean;
  readonly outcomeApplied?: boolean;
  readonly replayed?: boolean;
  readonly results?: readonly Result[];
  readonly failedGuard?: number;
  /** Of a transaction that was answered from its idempotency key. */
  readonly kept?: Uint8Array;
  /** The answer to an item `outcome_of`; all else that is said is of the transaction. */
  readonly keyState?: keyof typeof wire.KeyState;
  readonly keyCode?: ErrorName;
}

export interface Result {
  readonly entry?: EntryFields;
  readonly entries?: readonly EntryFields[];
  readonly more?: boolean;
  readonly count?: number;
  readonly number?: bigint;
}

export interface EntryFields {
  readonly key: string;
  readonly value?: string | bigint;
  readonly created?: bigint;
  readonly modified?: bigint;
  readonly version?: bigint;
  readonly expiresInMs?: bigint;
}

export interface WelcomeFields {
  readonly session?: Uint8Array;
  readonly resumed?: boolean;
  readonly window?: number;
  readonly outstandingBytesMax?: number;
  readonly frameBytesMax?: number;
}

export const SESSION = Uint8Array.from({ length: 56 }, (_, i) => i + 1);
export const OTHER_SESSION = Uint8Array.from({ length: 56 }, (_, i) => 200 - i);
export const DEFAULT_SPACE = 1;

const MAGIC = 0x4d44;
const ITEM_KINDS = [undefined, "transaction", "outcome", "outcome_of"] as const;
const VERSION = 2;
const OUTCOMES = { not_submitted: 1, not_applied: 2, unknown: 3 };

/** One connection that the SDK made. */
export class PeerConnection {
  readonly url: string;
  readonly frames: SentFrame[] = [];
  hello: SentHello | undefined;
  isOpen = true;
  readonly #events: TransportEvents;
  readonly #peer: Peer;

  constructor(peer: Peer, url: string, events: TransportEvents) {
    this.#peer = peer;
    this.url = url;
    this.#events = events;
  }

  /** Every item that was sent over this connection. */
  get items(): SentItem[] {
    return this.frames.flatMap(({ items }) => items);
  }

  get lastFrame(): SentFrame {
    const frame = this.frames.at(-1);
    if (frame === undefined) throw new Error("no frame was sent");
    return frame;
  }

  accept(): void {
    this.#events.onOpen();
  }

  welcome(fields: WelcomeFields = {}): void {
    this.raw(welcomeFrame(fields));
  }

  reply(...answers: Answer[]): void {
    const bySpace = new Map<number, Answer[]>();
    for (const answer of answers) {
      const sent = this.items.findLast(({ sequence }) => sequence === answer.sequence);
      const space = answer.space ?? sent?.space ?? DEFAULT_SPACE;
      const together = bySpace.get(space) ?? [];
      together.push(answer);
      bySpace.set(space, together);
    }
    for (const [space, together] of bySpace) this.raw(repliesFrame(space, together));
  }

  goodbye(code: ErrorName, message = "", retryAfterMs = 0): void {
    const builder = new Builder();
    const text = builder.createString(message);
    const { number, retryable, outcome } = errors[code];
    const goodbye = wire.Goodbye.createGoodbye(
      builder,
      number,
      text,
      retryAfterMs,
      retryable,
      OUTCOMES[outcome],
    );
    builder.finish(goodbye);
    this.raw(frame(wire.FrameKind.goodbye, [item(builder.asUint8Array())]));
  }

  /** Hands any bytes to the SDK. */
  raw(bytes: Uint8Array): void {
    if (this.isOpen) this.#events.onFrame(bytes);
  }

  /** The connection breaks. */
  drop(reason = "dropped"): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.#events.onClose(reason);
  }

  receive(bytes: Uint8Array): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (view.getUint16(0, true) !== MAGIC) throw new Error("no frame");
    const kind = view.getUint8(3);
    const count = view.getUint32(4, true);
    if (kind === wire.FrameKind.hello) {
      const length = view.getUint32(24 + 8, true);
      const buffer = new ByteBuffer(bytes.slice(40, 40 + length));
      const hello = wire.Hello.getRootAsHello(buffer);
      const session = hello.sessionArray();
      this.hello = {
        token: hello.token(),
        session: session === null ? null : session.slice(),
        client: hello.client(),
      };
      if (this.#peer.autoWelcome !== undefined) this.welcome(this.#peer.autoWelcome(this));
      return;
    }
    const space = view.getUint32(20, true);
    const items: SentItem[] = [];
    let at = 24;
    for (let i = 0; i < count; i += 1) {
      const sequence = Number(view.getBigUint64(at, true));
      const length = view.getUint32(at + 8, true);
      const payload = bytes.slice(at + 16, at + 16 + length);
      const itemKind = view.getUint8(at + 12);
      const sentKind = ITEM_KINDS[itemKind];
      if (sentKind === undefined) throw new Error(`no item is of kind ${itemKind}`);
      items.push({ sequence, kind: sentKind, space, payload });
      at += 16 + Math.ceil(length / 8) * 8;
    }
    if (at !== bytes.length) throw new Error(`${bytes.length - at} bytes behind the last item`);
    this.frames.push({
      space,
      ackedBelow: Number(view.getBigUint64(8, true)),
      timeoutMs: view.getUint32(16, true),
      items,
      byteLength: bytes.length,
    });
    const { answer } = this.#peer;
    if (answer === undefined) return;
    const answers = items.flatMap((sent) => {
      const said = answer(sent, this);
      return said === undefined ? [] : [{ space, ...said }];
    });
    if (answers.length > 0) queueMicrotask(() => this.reply(...answers));
  }
}

/** A server whose every word the test writes. */
export class Peer {
  readonly connections: PeerConnection[] = [];
  /** Says hello back at once; undefined: the test does. */
  autoWelcome: ((connection: PeerConnection) => WelcomeFields) | undefined = (connection) => ({
    resumed: connection.hello?.session !== null,
  });
  /** Are connections accepted? */
  isUp = true;
  /** Answers each item as it comes. */
  answer: ((item: SentItem, connection: PeerConnection) => Answer | undefined) | undefined;

  readonly transport: Transport = {
    open: (url, events) => {
      const connection = new PeerConnection(this, url, events);
      this.connections.push(connection);
      queueMicrotask(() => {
        if (this.isUp) connection.accept();
        else connection.drop("connection refused");
      });
      return {
        send: (bytes) => connection.receive(bytes.slice()),
        close: () => connection.drop("closed by the client"),
      };
    },
  };

  /** The connection made last. */
  get last(): PeerConnection {
    const connection = this.connections.at(-1);
    if (connection === undefined) throw new Error("no connection was made");
    return connection;
  }
}

/** The transaction of an item, through the generated code. */
export function transactionOf({ payload }: SentItem): wire.Transaction {
  return wire.Transaction.getRootAsTransaction(new ByteBuffer(payload));
}

export function outcomeRequestOf({ payload }: SentItem): wire.OutcomeRequest {
  return wire.OutcomeRequest.getRootAsOutcomeRequest(new ByteBuffer(payload));
}

export function outcomeOfRequestOf({ payload }: SentItem): wire.OutcomeOfRequest {
  return wire.OutcomeOfRequest.getRootAsOutcomeOfRequest(new ByteBuffer(payload));
}

/** The key of a transaction's first operation. */
export function firstKey(sent: SentItem): string {
  return new TextDecoder().decode(transactionOf(sent).then(0)?.keyArray() ?? new Uint8Array());
}

export function welcomeFrame(fields: WelcomeFields): Uint8Array {
  const builder = new Builder();
  const session = wire.Welcome.createSessionVector(builder, fields.session ?? SESSION);
  const limits = wire.Limits.createLimits(
    builder,
    fields.frameBytesMax ?? 8_388_608,
    4_259_840,
    1024,
    1_048_576,
    4096,
    4096,
    fields.window ?? 4096,
    fields.outstandingBytesMax ?? 16_777_216,
    3_600_000n,
  );
  wire.Welcome.startWelcome(builder);
  wire.Welcome.addVersion(builder, VERSION);
  wire.Welcome.addVersionMin(builder, VERSION);
  wire.Welcome.addVersionMax(builder, VERSION);
  wire.Welcome.addSession(builder, session);
  wire.Welcome.addResumed(builder, fields.resumed ?? false);
  wire.Welcome.addEpoch(builder, 1n);
  wire.Welcome.addServerTimeMs(builder, 1n);
  wire.Welcome.addNode(builder, 1n);
  wire.Welcome.addLimits(builder, limits);
  wire.Welcome.addDefaultSpace(builder, DEFAULT_SPACE);
  builder.finish(wire.Welcome.endWelcome(builder));
  return frame(wire.FrameKind.welcome, [item(builder.asUint8Array())]);
}

export function repliesFrame(space: number, answers: readonly Answer[]): Uint8Array {
  return frame(
    wire.FrameKind.replies,
    answers.map((answer) => {
      const payload = payloadOf(answer);
      const bytes = new Uint8Array(24 + Math.ceil(payload.length / 8) * 8);
      const view = new DataView(bytes.buffer);
      view.setBigUint64(0, BigInt(answer.sequence), true);
      view.setBigUint64(8, answer.revision ?? 0n, true);
      view.setUint32(16, payload.length, true);
      view.setUint16(20, answer.code === undefined ? 0 : errors[answer.code].number, true);
      const flags =
        ((answer.applied ?? answer.code === undefined) ? 1 : 0) |
        (answer.replayed ? 2 : 0) |
        (answer.outcomeApplied ? 4 : 0) |
        adviceOf(answer);
      view.setUint8(22, flags);
      bytes.set(payload, 24);
      return bytes;
    }),
    space,
  );
}

/** The flags that say what an error means. */
function adviceOf({ code, retryable, outcome }: Answer): number {
  if (code === undefined) return 0;
  const row = errors[code];
  return ((retryable ?? row.retryable) ? 8 : 0) | (OUTCOMES[outcome ?? row.outcome] << 4);
}

function payloadOf(answer: Answer): Uint8Array {
  if (answer.code !== undefined) return detailOf(answer);
  return answer.keyState === undefined ? resultsOf(answer) : keyOutcomeOf(answer);
}

function keyOutcomeOf({ keyState = "none", keyCode, kept, ...answer }: Answer): Uint8Array {
  const builder = new Builder();
  const results = wire.KeyOutcome.createResultsVector(builder, resultsOf(answer));
  const keptAt = kept === undefined ? 0 : wire.KeyOutcome.createKeptVector(builder, kept);
  builder.finish(
    wire.KeyOutcome.createKeyOutcome(
      builder,
      wire.KeyState[keyState],
      keyCode === undefined ? 0 : errors[keyCode].number,
      answer.revision ?? 0n,
      results,
      keptAt,
    ),
  );
  return builder.asUint8Array().slice();
}

function resultsOf({ results, failedGuard, kept }: Answer): Uint8Array {
  if (results === undefined && failedGuard === undefined && kept === undefined) {
    return new Uint8Array(0);
  }
  const builder = new Builder();
  const keptAt = kept === undefined ? 0 : wire.Results.createKeptVector(builder, kept);
  const offsets = (results ?? []).map((result) => {
    const entry = result.entry === undefined ? 0 : entryOf(builder, result.entry);
    const entryOffsets = result.entries?.map((fields) => entryOf(builder, fields));
    const entries =
      entryOffsets === undefined
        ? 0
        : wire.OperationResult.createEntriesVector(builder, entryOffsets);
    wire.OperationResult.startOperationResult(builder);
    if (entry !== 0) wire.OperationResult.addEntry(builder, entry);
    if (entries !== 0) wire.OperationResult.addEntries(builder, entries);
    wire.OperationResult.addMore(builder, result.more ?? false);
    wire.OperationResult.addCount(builder, BigInt(result.count ?? 0));
    if (result.number !== undefined) wire.OperationResult.addNumber(builder, result.number);
    return wire.OperationResult.endOperationResult(builder);
  });
  const vector = wire.Results.createResultsVector(builder, offsets);
  builder.finish(wire.Results.createResults(builder, vector, failedGuard ?? -1, keptAt));
  return builder.asUint8Array().slice();
}

function entryOf(builder: Builder, fields: EntryFields): number {
  const encoder = new TextEncoder();
  const key = wire.Entry.createKeyVector(builder, encoder.encode(fields.key));
  const value =
    typeof fields.value === "string"
      ? wire.Entry.createValueVector(builder, encoder.encode(fields.value))
      : 0;
  wire.Entry.startEntry(builder);
  wire.Entry.addKey(builder, key);
  if (value !== 0) wire.Entry.addValue(builder, value);
  if (typeof fields.value === "bigint") wire.Entry.addNumber(builder, fields.value);
  wire.Entry.addCreated(builder, fields.created ?? 1n);
  wire.Entry.addModified(builder, fields.modified ?? 1n);
  wire.Entry.addVersion(builder, fields.version ?? 1n);
  if (fields.expiresInMs !== undefined) wire.Entry.addExpiresInMs(builder, fields.expiresInMs);
  return wire.Entry.endEntry(builder);
}

function detailOf({ message, operation, guard, key, retryAfterMs }: Answer): Uint8Array {
  const builder = new Builder();
  const keyAt = key === undefined ? 0 : wire.ErrorDetail.createKeyVector(builder, key);
  const text = builder.createString(message ?? "as the test said");
  const detail = wire.ErrorDetail.createErrorDetail(
    builder,
    text,
    operation ?? -1,
    retryAfterMs ?? 0,
    guard ?? -1,
    keyAt,
  );
  builder.finish(detail);
  return builder.asUint8Array().slice();
}

function item(payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(24 + Math.ceil(payload.length / 8) * 8);
  new DataView(bytes.buffer).setUint32(16, payload.length, true);
  bytes.set(payload, 24);
  return bytes;
}

function frame(kind: number, items: readonly Uint8Array[], space = 0): Uint8Array {
  const length = items.reduce((sum, { length }) => sum + length, 24);
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, MAGIC, true);
  view.setUint8(2, VERSION);
  view.setUint8(3, kind);
  view.setUint32(4, items.length, true);
  view.setUint32(20, space, true);
  let at = 24;
  for (const each of items) {
    bytes.set(each, at);
    at += each.length;
  }
  return bytes;
}
