/**
 * One WebSocket from its first byte to its last: says hello once, then submits frames within its
 * credit, and gets the engine's frames as they come.
 */

import type { Authenticator, Principal } from "../../policy/index.js";
import { ProtocolError } from "../../protocol/error.js";
import {
  FrameKind,
  frameCount,
  frameKind,
  frameVersion,
  type Part,
  readPart,
} from "../../protocol/frame.js";
import {
  type ErrorName,
  errorCloseCodes,
  errorRetryAfterMs,
} from "../../protocol/generated/errors.js";
import { FRAME_ITEMS_MAX, PROTOCOL_VERSION } from "../../protocol/generated/limits.js";
import {
  buildGoodbye,
  type Hello,
  ourVersions,
  readGoodbye,
  readHello,
} from "../../protocol/hello.js";
import type { Counters } from "../counters.js";
import { type ClientMemory, type Holder, MEMORY_RETRY_MS } from "../memory.js";
import type { Seam, Tenant } from "../seam.js";
import type { Address, Slots } from "../slots.js";
import { addressOf, type Peer } from "../transport.js";
import type { TurnedAway } from "../turned-away.js";
import { refuseItems } from "./frames.js";
import { HalfFrame } from "./half-frame.js";

/** A closing connection whose client does not read its goodbye is cut after this. */
const LINGER_MS = 5_000;

/** What the connections of a gateway share. */
export interface ConnectionContext {
  readonly seam: Seam;
  readonly slots: Slots<Tenant>;
  readonly authenticator: Authenticator;
  readonly counters: Counters;
  readonly memory: ClientMemory;
  readonly turnedAway: TurnedAway;
  readonly limits: ConnectionLimits;
  /** Has this connection's number of requests begun to shrink to nothing because the server stops? */
  readonly isDraining: () => boolean;
  readonly now: () => number;
  /** Connections that wait for something with a deadline; the gateway sweeps them. */
  readonly waiting: Set<Connection>;
}

export interface ConnectionLimits {
  readonly helloTimeoutMs: number;
  readonly frameBytesMax: number;
  /** Request bytes that may be unanswered at a time. Sequences are for the engine to judge. */
  readonly outstandingBytesMax: number;
  readonly sendBufferBytesMax: number;
}

const NO_SESSION = new Uint8Array(0);

/** Of what `Peer.send` returns. */
const WRITTEN = 1;
const DROPPED = 2;

/** `hello`: nothing said yet. `open`: known to the engine. `closing`: only its goodbye is still to be sent. */
type Phase = "hello" | "open" | "closing" | "closed";

/** How a WebSocket is closed. */
interface Farewell {
  readonly code: number;
  readonly reason: string;
}

export class Connection implements Tenant, Holder {
  readonly #context: ConnectionContext;
  readonly #peer: Peer<unknown>;
  #phase: Phase = "hello";
  #address: Address | undefined;
  /** When the phase has lasted too long; meaningful while in `waiting`. */
  #dueMs: number;
  /** How to close, once that is decided. */
  #farewell: Farewell = { code: errorCloseCodes.internal, reason: "" };
  /** The name the client gave itself. */
  #client: string | undefined;
  /** A frame of which some parts have come; on the account. */
  #half: HalfFrame | undefined;
  /** Replies that wait for the client to read them, as last seen; on the account. */
  #unreadBytes = 0;
  /** Requests handed to the engine and not yet answered. */
  #outstanding = 0;
  /** Their bytes; replies carry no sizes, so each releases an equal share. */
  #outstandingBytes = 0;
  /** Asked to leave as soon as everything is answered and sent. */
  #leaving = false;

  constructor(context: ConnectionContext, peer: Peer<unknown>) {
    this.#context = context;
    this.#peer = peer;
    this.#dueMs = Math.ceil(context.now() + context.limits.helloTimeoutMs);
    context.waiting.add(this);
  }

  /** A message arrived; its bytes are gone when this returns. */
  onMessage(message: ArrayBuffer, isBinary: boolean): void {
    const { counters, limits } = this.#context;
    if (this.#phase === "closing" || this.#phase === "closed") return;
    counters.framesIn += 1;
    counters.bytesIn += message.byteLength;
    const frame = new Uint8Array(message);
    if (!isBinary) {
      this.goodbye("invalid_frame", "a text message arrived; frames are binary");
    } else if (frame.length > limits.frameBytesMax) {
      this.goodbye("too_large", `a frame may have ${limits.frameBytesMax} bytes`);
    } else if (this.#phase === "hello") {
      this.#onHello(frame);
    } else {
      this.#onFrameOfClient(frame);
    }
  }

  #onFrameOfClient(frame: Uint8Array): void {
    const kind = frameKind(frame);
    if (kind === FrameKind.part) this.#onPart(frame);
    else if (this.#half !== undefined) {
      this.goodbye("invalid_frame", "a frame came between the parts of another");
    } else if (kind === FrameKind.submit) this.#onSubmit(frame);
    else this.goodbye("invalid_frame", "after hello a client sends only submit frames");
  }

  #onPart(message: Uint8Array): void {
    let whole: Uint8Array | undefined;
    try {
      const part: Part = readPart(message);
      this.#half ??= new HalfFrame(part, this.#context.limits.frameBytesMax);
      whole = this.#half.add(part);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.goodbye(error.code, error.message);
      return;
    }
    if (whole !== undefined) this.#half = undefined;
    this.#account();
    if (whole === undefined || this.#phase !== "open") return;
    if (frameKind(whole) === FrameKind.submit) this.#onSubmit(whole);
    else this.goodbye("invalid_frame", "only submit frames come in parts");
  }

  /** Frames from the engine; valid only now. Several of replies go to the socket in one piece. */
  onFrames(frames: readonly Uint8Array[]): void {
    if (this.#phase !== "open") return;
    // What the socket takes of a piece shows only behind it: too late for whoever wants to close.
    if (frames.length > 1 && !this.#leaving && frames.every(isReplies)) this.#sendPiece(frames);
    else for (const frame of frames) this.#onFrame(frame);
  }

  #onFrame(frame: Uint8Array): void {
    if (this.#phase !== "open") return;
    if (isReplies(frame)) this.#release(frameCount(frame));
    const sent = this.#send(frame);
    if (frameKind(frame) === FrameKind.goodbye) {
      const { code } = readGoodbye(frame);
      this.#beginClosing(errorCloseCodes[code], code, sent);
    } else if (this.#leaving) {
      this.#leaveIfDone();
    }
  }

  /** The peer has read some of what waited for it. */
  onDrained(): void {
    if (this.#phase === "closed") return;
    this.#unreadBytes = this.#peer.getBufferedAmount();
    this.#account();
    if (this.#unreadBytes > 0) return;
    if (this.#phase === "closing") this.#end();
    else if (this.#leaving) this.#leaveIfDone();
  }

  /** The WebSocket is gone, whoever closed it. */
  onClosed(): void {
    if (this.#phase === "closed") return;
    this.#phase = "closed";
    this.#context.waiting.delete(this);
    this.#half = undefined;
    this.#context.memory.release(this);
    this.#detach();
  }

  /** More is kept for clients than may be, and nobody has as much: it hears so, or is cut. */
  shed(detail: string): void {
    if (this.#phase === "closed") return;
    if (this.#unreadBytes > 0) this.#cut("overloaded", detail);
    else this.goodbye("overloaded", detail, MEMORY_RETRY_MS);
  }

  /** Called every now and then while the connection waits for something. */
  onSweep(nowMs: number): void {
    if (nowMs < this.#dueMs) return;
    if (this.#phase === "closing") this.#peer.close();
    else if (this.#phase === "hello") this.goodbye("unauthenticated", "no hello came in time");
  }

  /** Says why and closes. What was answered before is sent first, if the client reads it. */
  goodbye(code: ErrorName, message: string, retryAfterMs = errorRetryAfterMs[code]): void {
    if (this.#phase === "closing" || this.#phase === "closed") return;
    this.#context.counters.refused(code);
    this.#noteTurnedAway(code, message);
    const sent = this.#send(buildGoodbye(code, message, retryAfterMs));
    this.#beginClosing(errorCloseCodes[code], code, sent);
  }

  /** The server stops: leave as soon as what was accepted is answered and sent. */
  leave(): void {
    this.#leaving = true;
    this.#leaveIfDone();
  }

  #leaveIfDone(): void {
    if (this.#phase === "closing" || this.#phase === "closed") return;
    if (this.#outstanding > 0 || this.#peer.getBufferedAmount() > 0) return;
    this.goodbye("shutting_down", "the server is stopping");
  }

  #onHello(frame: Uint8Array): void {
    const { authenticator, slots, seam, counters, waiting } = this.#context;
    const hello = this.#readHello(frame);
    if (hello === undefined) return;
    this.#client = hello.client;
    const principal: Principal | undefined = authenticator.authenticate(hello.token);
    if (principal === undefined) {
      this.goodbye("unauthenticated", "no valid token was presented");
      return;
    }
    const address = slots.take(this);
    if (!seam.attach(address, principal, hello.session ?? NO_SESSION)) {
      slots.release(address);
      this.goodbye("overloaded", "the engine's queue is full");
      return;
    }
    counters.connectionsAttached += 1;
    this.#address = address;
    this.#phase = "open";
    waiting.delete(this);
  }

  /** The hello, or undefined after a goodbye that says what is wrong with it. */
  #readHello(frame: Uint8Array): Hello | undefined {
    const version = frameVersion(frame);
    if (version !== undefined && version !== PROTOCOL_VERSION) {
      this.goodbye("unsupported_version", `this server speaks ${ourVersions()}`);
      return undefined;
    }
    if (frameKind(frame) !== FrameKind.hello) {
      this.goodbye("invalid_frame", "the first frame must be a hello");
      return undefined;
    }
    try {
      return readHello(frame);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.goodbye(error.code, error.message);
      return undefined;
    }
  }

  #onSubmit(frame: Uint8Array): void {
    const { limits, seam, isDraining } = this.#context;
    const count = frameCount(frame);
    const address = this.#address;
    if (address === undefined || count === 0 || count > FRAME_ITEMS_MAX) {
      this.goodbye("invalid_frame", `a frame carries 1 to ${FRAME_ITEMS_MAX} items`);
    } else if (isDraining()) {
      this.#refuse(frame, "shutting_down", "the server is stopping");
    } else if (frame.length > limits.outstandingBytesMax) {
      this.#refuse(frame, "too_large", "the frame alone is over this connection's credit");
    } else if (this.#outstandingBytes + frame.length > limits.outstandingBytesMax) {
      this.#refuse(frame, "overloaded", "this connection's credit is spent");
    } else if (!seam.frame(address, frame)) {
      this.#refuse(frame, "overloaded", "the engine's queue is full");
    } else {
      this.#outstanding += count;
      this.#outstandingBytes += frame.length;
    }
  }

  /** Answers every item of a frame that goes no further. */
  #refuse(frame: Uint8Array, code: ErrorName, message: string): void {
    const replies = refuseItems(frame, code, message);
    if (replies === undefined) {
      this.goodbye("invalid_frame", "the frame's items do not fit together");
      return;
    }
    this.#context.counters.refused(code, frameCount(frame));
    this.#send(replies);
  }

  #release(replies: number): void {
    const left = this.#outstanding - replies;
    if (left <= 0) {
      this.#outstanding = 0;
      this.#outstandingBytes = 0;
    } else {
      this.#outstandingBytes = Math.ceil((this.#outstandingBytes / this.#outstanding) * left);
      this.#outstanding = left;
    }
  }

  /**
   * True if nothing waits in memory. A peer for which too much waits is cut. The engine puts a
   * connection's replies of a turn about one space into one frame, so each of its turns sends one
   * message a space.
   */
  #send(frame: Uint8Array): boolean {
    const status = this.#write(frame);
    if (status === WRITTEN && this.#unreadBytes === 0) return true;
    this.#noteUnread(status === DROPPED);
    return this.#phase !== "closed" && this.#unreadBytes === 0;
  }

  /** Sends several of replies with one call of the system. Inside the cork nothing is closed. */
  #sendPiece(frames: readonly Uint8Array[]): void {
    let status = WRITTEN;
    this.#peer.cork(() => {
      for (const frame of frames) {
        this.#release(frameCount(frame));
        status = this.#write(frame);
        if (status === DROPPED) return;
      }
    });
    this.#noteUnread(status === DROPPED);
  }

  /** Hands a frame to the transport; what became of it. */
  #write(frame: Uint8Array): number {
    const { counters } = this.#context;
    counters.framesOut += 1;
    counters.bytesOut += frame.length;
    return this.#peer.send(frame, true, false);
  }

  /** Looks how much waits to be read; where that is too much, or something was dropped, the peer is cut. */
  #noteUnread(isDropped: boolean): void {
    this.#unreadBytes = this.#peer.getBufferedAmount();
    if (isDropped || this.#unreadBytes > this.#context.limits.sendBufferBytesMax) {
      this.#cut("slow_consumer", "too much waits for it to be read");
    } else {
      this.#account();
    }
  }

  /** Puts what it holds on the account; where that is too much it lets go of it. */
  #account(): void {
    const { memory } = this.#context;
    const held = this.#unreadBytes + (this.#half?.length ?? 0);
    if (!memory.hold(this, held)) this.shed(memory.detail(held));
  }

  /**
   * Ends at once, without a word: what waits for it is dropped, and no word would come through
   * before that.
   */
  #cut(code: ErrorName, detail: string): void {
    this.#context.counters.refused(code);
    this.#noteTurnedAway(code, detail);
    this.#peer.close();
  }

  #noteTurnedAway(code: ErrorName, detail: string): void {
    this.#context.turnedAway.note(code, detail, addressOf(this.#peer), this.#client);
  }

  #beginClosing(code: number, reason: string, sent: boolean): void {
    // Sending can itself have ended the connection.
    if (this.#phase === "closed" || this.#phase === "closing") return;
    this.#detach();
    this.#phase = "closing";
    this.#half = undefined;
    this.#account();
    this.#farewell = { code, reason };
    if (sent) {
      this.#end();
      return;
    }
    this.#dueMs = Math.ceil(this.#context.now() + LINGER_MS);
    this.#context.waiting.delete(this);
    this.#context.waiting.add(this);
  }

  /** Ends in `onClosed`, which the transport calls before `end` returns. */
  #end(): void {
    if (this.#phase !== "closed") this.#peer.end(this.#farewell.code, this.#farewell.reason);
  }

  #detach(): void {
    const address = this.#address;
    this.#address = undefined;
    if (address !== undefined) {
      this.#context.counters.connectionsAttached -= 1;
      this.#context.seam.detach(address);
    }
  }
}

function isReplies(frame: Uint8Array): boolean {
  return frameKind(frame) === FrameKind.replies;
}
