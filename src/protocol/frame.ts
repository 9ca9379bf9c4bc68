/**
 * Frames: the envelope around items that travel together in one message. The layout is specified
 * at the head of schemas/wire.fbs.
 *
 * Walking a frame checks what it needs to stay within the bytes; the engine checks the rest.
 * Payloads are not looked into.
 */

import { ProtocolError, reading } from "./error.js";
import { type ErrorName, errorOfNumber, errors, type Outcome } from "./generated/errors.js";
import { FRAME_BYTES_MAX, MESSAGE_BYTES_MAX, PROTOCOL_VERSION } from "./generated/limits.js";
import { FrameKind } from "./generated/wire/frame-kind.js";
import { ItemKind } from "./generated/wire/item-kind.js";
import { readCount, writeCount } from "./table.js";

export { FrameKind, ItemKind };

/** First two bytes of a frame: "DM". */
const MAGIC = 0x4d44;
export const FRAME_HEADER_BYTES = 24;
export const ITEM_HEADER_BYTES = 16;
export const REPLY_HEADER_BYTES = 24;
export const PART_HEADER_BYTES = 16;

/** Bytes of memory of its own, as a transport or a worker can take over. */
export type OwnBytes = Uint8Array<ArrayBuffer>;

/** An item on its way to the server. */
export interface FrameItem {
  /** With session and space the request id; 1 or more. */
  readonly sequence: number;
  readonly kind: "transaction" | "outcome" | "outcome_of";
  readonly payload: Uint8Array;
}

/** One answer. */
export interface Reply {
  /** Of the request it answers. */
  readonly sequence: number;
  /** Of the commit, or of the state that was read; 0 with an error that has none. */
  readonly revision: bigint;
  /**
   * What went wrong; `payload` is then read by `readErrorDetail`. An error that our table does not
   * know is `internal`; what the server says of it, `retryable` and `outcome`, holds all the same.
   */
  readonly code: ErrorName | undefined;
  /** With an error: the same request may be sent again with hope. */
  readonly retryable: boolean;
  /** With an error: what is known of the request. */
  readonly outcome: Outcome | undefined;
  /** The guards held and the operations ran. */
  readonly applied: boolean;
  /** Answered from the session or from an idempotency key: an earlier attempt took effect. */
  readonly replayed: boolean;
  /** To an outcome request: the request took effect. */
  readonly outcomeApplied: boolean;
  /** A view into the frame; of a reply without error, read by `decodeResults`. */
  readonly payload: Uint8Array;
}

/** The kind of a frame of our version; undefined if it is none, or one of a later time. */
export function frameKind(frame: Uint8Array): FrameKind | undefined {
  if (frame.length < FRAME_HEADER_BYTES) return undefined;
  const kind = frame[3] ?? 0;
  if (!hasMagic(frame) || frame[2] !== PROTOCOL_VERSION) return undefined;
  return kind >= FrameKind.hello && kind <= FrameKind.part ? (kind as FrameKind) : undefined;
}

/** The protocol version of a frame, ours or not; undefined if it is no frame at all. */
export function frameVersion(frame: Uint8Array): number | undefined {
  return frame.length >= FRAME_HEADER_BYTES && hasMagic(frame) ? frame[2] : undefined;
}

function hasMagic(frame: Uint8Array): boolean {
  return frame[0] === (MAGIC & 0xff) && frame[1] === MAGIC >> 8;
}

/** How many items a frame says it has. */
export function frameCount(frame: Uint8Array): number {
  return wordAt(frame, 4);
}

/** The id of the space that a submit or replies frame says it is about. */
export function frameSpace(frame: Uint8Array): number {
  return wordAt(frame, 20);
}

function wordAt(frame: Uint8Array, at: number): number {
  // Byte by byte: this is asked of every message, and a view would cost more than all else here.
  return (
    ((frame[at] ?? 0) |
      ((frame[at + 1] ?? 0) << 8) |
      ((frame[at + 2] ?? 0) << 16) |
      ((frame[at + 3] ?? 0) << 24)) >>>
    0
  );
}

/** The bytes an item with this payload takes in a frame. */
export function itemBytes(payload: Uint8Array): number {
  return ITEM_HEADER_BYTES + padded(payload.length);
}

/** Builds a `submit` frame for the space of that id. `timeoutMs`: 1 to TIMEOUT_MS_MAX, whole. */
export function buildFrame(
  space: number,
  items: readonly FrameItem[],
  ackedBelow: number,
  timeoutMs: number,
): OwnBytes {
  let length = FRAME_HEADER_BYTES;
  for (const item of items) length += itemBytes(item.payload);
  const frame = new Uint8Array(length);
  const view = viewOf(frame);
  writeHeader(view, FrameKind.submit, items.length, space);
  writeCount(view, 8, ackedBelow);
  view.setUint32(16, timeoutMs, true);
  let at = FRAME_HEADER_BYTES;
  for (const { sequence, kind, payload } of items) {
    writeCount(view, at, sequence);
    view.setUint32(at + 8, payload.length, true);
    view.setUint8(at + 12, ItemKind[kind]);
    frame.set(payload, at + ITEM_HEADER_BYTES);
    at += itemBytes(payload);
  }
  return frame;
}

/** Kinds of items by their numbers. */
const ITEM_KINDS: readonly (FrameItem["kind"] | undefined)[] = [
  undefined,
  "transaction",
  "outcome",
  "outcome_of",
];

/** The items of a `submit` frame, as views. @throws ProtocolError `invalid_frame` */
export function readItems(frame: Uint8Array): FrameItem[] {
  return walk(frame, FrameKind.submit, (view, at) => {
    const sequence = readCount(view, at);
    const number = view.getUint32(at + 12, true);
    const kind = ITEM_KINDS[number];
    if (sequence === 0 || kind === undefined) throw malformed("item");
    const payload = payloadAt(frame, at + ITEM_HEADER_BYTES, view.getUint32(at + 8, true));
    return { sequence, kind, payload };
  });
}

/** Outcomes by their numbers in a reply's flags and in a goodbye; 0 is none. */
const OUTCOMES: readonly (Outcome | undefined)[] = [
  undefined,
  "not_submitted",
  "not_applied",
  "unknown",
];

/** An outcome's number on the wire. */
export function outcomeNumber(outcome: Outcome | undefined): number {
  return OUTCOMES.indexOf(outcome);
}

/** The outcome of that number. @throws ProtocolError `invalid_frame` */
export function outcomeOfNumber(number: number): Outcome {
  const outcome = OUTCOMES[number];
  if (outcome === undefined) throw malformed("item");
  return outcome;
}

/** Builds a `replies` frame about the space of that id. */
export function buildReplies(space: number, replies: readonly Reply[]): OwnBytes {
  let length = FRAME_HEADER_BYTES;
  for (const { payload } of replies) length += REPLY_HEADER_BYTES + padded(payload.length);
  const frame = new Uint8Array(length);
  const view = viewOf(frame);
  writeHeader(view, FrameKind.replies, replies.length, space);
  let at = FRAME_HEADER_BYTES;
  for (const reply of replies) {
    writeCount(view, at, reply.sequence);
    view.setBigUint64(at + 8, reply.revision, true);
    view.setUint32(at + 16, reply.payload.length, true);
    view.setUint16(at + 20, reply.code === undefined ? 0 : errors[reply.code].number, true);
    const flags =
      Number(reply.applied) |
      (Number(reply.replayed) << 1) |
      (Number(reply.outcomeApplied) << 2) |
      (Number(reply.retryable) << 3) |
      (outcomeNumber(reply.outcome) << 4);
    view.setUint8(at + 22, flags);
    frame.set(reply.payload, at + REPLY_HEADER_BYTES);
    at += REPLY_HEADER_BYTES + padded(reply.payload.length);
  }
  return frame;
}

/** The answers of a `replies` frame. @throws ProtocolError `invalid_frame` */
export function readReplies(frame: Uint8Array): Reply[] {
  return walk(frame, FrameKind.replies, (view, at) => {
    const number = view.getUint16(at + 20, true);
    const flags = view.getUint8(at + 22);
    return {
      sequence: readCount(view, at),
      revision: view.getBigUint64(at + 8, true),
      code: number === 0 ? undefined : (errorOfNumber(number) ?? "internal"),
      retryable: (flags & 8) !== 0,
      outcome: number === 0 ? undefined : outcomeOfNumber((flags >> 4) & 3),
      applied: (flags & 1) !== 0,
      replayed: (flags & 2) !== 0,
      outcomeApplied: (flags & 4) !== 0,
      payload: payloadAt(frame, at + REPLY_HEADER_BYTES, view.getUint32(at + 16, true)),
    };
  });
}

/** Wraps the one payload of a frame of kind hello, welcome or goodbye. */
export function buildSingle(kind: FrameKind, payload: Uint8Array): OwnBytes {
  const { headerBytes, lengthAt } = singleShape(kind);
  const frame = new Uint8Array(FRAME_HEADER_BYTES + headerBytes + padded(payload.length));
  const view = viewOf(frame);
  writeHeader(view, kind, 1, 0);
  view.setUint32(FRAME_HEADER_BYTES + lengthAt, payload.length, true);
  frame.set(payload, FRAME_HEADER_BYTES + headerBytes);
  return frame;
}

/** The one payload of a frame of that kind. @throws ProtocolError `invalid_frame` */
export function readSingle(frame: Uint8Array, kind: FrameKind): Uint8Array {
  const { headerBytes, lengthAt } = singleShape(kind);
  const [payload] = walk(frame, kind, (view, at) => ({
    payload: payloadAt(frame, at + headerBytes, view.getUint32(at + lengthAt, true)),
  }));
  if (payload === undefined || frameCount(frame) !== 1) throw malformed("frame");
  return payload.payload;
}

/** Where a part belongs in its frame, and its bytes. */
export interface Part {
  /** Bytes of the whole frame. */
  readonly frameBytes: number;
  /** Where in it this part begins. */
  readonly offset: number;
  /** A view into the message. */
  readonly bytes: Uint8Array;
}

/** Bytes of a frame that one message can carry. */
export const PART_BYTES_MAX = MESSAGE_BYTES_MAX - FRAME_HEADER_BYTES - PART_HEADER_BYTES;

/** The messages in which a frame travels: itself where it fits one, else its parts in order. */
export function splitIntoParts(frame: OwnBytes): OwnBytes[] {
  if (frame.length <= MESSAGE_BYTES_MAX) return [frame];
  const messages: OwnBytes[] = [];
  for (let offset = 0; offset < frame.length; offset += PART_BYTES_MAX) {
    const bytes = frame.subarray(offset, offset + PART_BYTES_MAX);
    const start = FRAME_HEADER_BYTES + PART_HEADER_BYTES;
    const message = new Uint8Array(start + padded(bytes.length));
    const view = viewOf(message);
    writeHeader(view, FrameKind.part, 1, 0);
    view.setUint32(FRAME_HEADER_BYTES, frame.length, true);
    view.setUint32(FRAME_HEADER_BYTES + 4, offset, true);
    view.setUint32(FRAME_HEADER_BYTES + 8, bytes.length, true);
    message.set(bytes, start);
    messages.push(message);
  }
  return messages;
}

/**
 * Reads a message that is a part. Whether it is the next one, and whether the frame may be kept,
 * is its caller's to say.
 * @throws ProtocolError `invalid_frame`, and `too_large` where the whole frame is
 */
export function readPart(message: Uint8Array): Part {
  const start = FRAME_HEADER_BYTES + PART_HEADER_BYTES;
  if (frameKind(message) !== FrameKind.part || message.length < start) throw malformed("part");
  const view = viewOf(message);
  const frameBytes = view.getUint32(FRAME_HEADER_BYTES, true);
  const offset = view.getUint32(FRAME_HEADER_BYTES + 4, true);
  const length = view.getUint32(FRAME_HEADER_BYTES + 8, true);
  if (frameBytes > FRAME_BYTES_MAX) {
    throw new ProtocolError("too_large", `a frame has at most ${FRAME_BYTES_MAX} bytes`);
  }
  const isPlain =
    frameCount(message) === 1 &&
    view.getBigUint64(8, true) === 0n &&
    view.getBigUint64(16, true) === 0n &&
    view.getUint32(FRAME_HEADER_BYTES + 12, true) === 0;
  const fits = length > 0 && offset + length <= frameBytes;
  const bytes = message.subarray(start, start + length);
  const padding = message.subarray(start + length);
  if (!isPlain || !fits || message.length !== start + padded(length) || padding.some(Boolean)) {
    throw malformed("part");
  }
  return { frameBytes, offset, bytes };
}

function singleShape(kind: FrameKind): { headerBytes: number; lengthAt: number } {
  return kind === FrameKind.hello
    ? { headerBytes: ITEM_HEADER_BYTES, lengthAt: 8 }
    : { headerBytes: REPLY_HEADER_BYTES, lengthAt: 16 };
}

/** Reads every item of a frame of that kind; they must fill it exactly. */
function walk<T extends { readonly payload: Uint8Array }>(
  frame: Uint8Array,
  kind: FrameKind,
  read: (view: DataView, at: number) => T,
): T[] {
  if (frameKind(frame) !== kind) throw malformed("frame");
  return reading("frame", () => {
    const view = viewOf(frame);
    const items: T[] = [];
    let at = FRAME_HEADER_BYTES;
    for (let left = view.getUint32(4, true); left > 0; left -= 1) {
      const item = read(view, at);
      items.push(item);
      at = item.payload.byteOffset - frame.byteOffset + padded(item.payload.length);
    }
    if (at !== frame.length) throw malformed("frame");
    return items;
  });
}

function payloadAt(frame: Uint8Array, start: number, length: number): Uint8Array {
  if (start + padded(length) > frame.length) throw malformed("item");
  return frame.subarray(start, start + length);
}

function writeHeader(view: DataView, kind: FrameKind, count: number, space: number): void {
  view.setUint16(0, MAGIC, true);
  view.setUint8(2, PROTOCOL_VERSION);
  view.setUint8(3, kind);
  view.setUint32(4, count, true);
  view.setUint32(20, space, true);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The next multiple of 8. */
function padded(length: number): number {
  return Math.ceil(length / 8) * 8;
}

function malformed(what: string): ProtocolError {
  return new ProtocolError("invalid_frame", `malformed ${what}`);
}
