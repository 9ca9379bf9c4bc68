/** The first and last frames of a connection: hello, welcome, goodbye. */

import { encode } from "./builder.js";
import { ProtocolError, reading } from "./error.js";
import {
  buildSingle,
  FrameKind,
  type OwnBytes,
  outcomeNumber,
  outcomeOfNumber,
  readSingle,
} from "./frame.js";
import { type ErrorName, errorOfNumber, errors, type Outcome } from "./generated/errors.js";
import * as field from "./generated/fields.js";
import {
  CLIENT_NAME_BYTES_MAX,
  PROTOCOL_VERSION,
  PROTOCOL_VERSION_MIN,
  TOKEN_BYTES_MAX,
} from "./generated/limits.js";
import { Table } from "./table.js";

/** Bytes of a session's token. */
export const SESSION_TOKEN_BYTES = 56;

/** The versions of the protocol that one side speaks, from one to another. */
export interface Versions {
  readonly min: number;
  readonly max: number;
}

const OURS: Versions = { min: PROTOCOL_VERSION_MIN, max: PROTOCOL_VERSION };

/** For a person: the versions that this side speaks. */
export const ourVersions = (): string => versionsText(OURS);

function versionsText({ min, max }: Versions): string {
  return min === max ? `version ${max}` : `versions ${min} to ${max}`;
}

/** The highest version that both speak; undefined if there is none. */
export function commonVersion(theirs: Versions, ours: Versions = OURS): number | undefined {
  const version = Math.min(ours.max, theirs.max);
  return version >= Math.max(ours.min, theirs.min) ? version : undefined;
}

/** What a client says first. */
export interface Hello {
  /** How the client proves who it is. */
  readonly token?: string | undefined;
  /** The token of a session to resume. */
  readonly session?: Uint8Array | undefined;
  /** Name and version, for the operator's logs. */
  readonly client?: string | undefined;
}

/** What the server holds a client to; see schemas/limits.json. */
export interface WelcomeLimits {
  readonly frameBytesMax: number;
  readonly transactionBytesMax: number;
  readonly keyBytesMax: number;
  readonly valueBytesMax: number;
  readonly operationsMax: number;
  readonly guardsMax: number;
  /** Requests a session may have outstanding. */
  readonly window: number;
  readonly outstandingBytesMax: number;
  readonly sessionTtlMs: number;
}

/** What a server answers to hello. */
export interface Welcome {
  /** The version that is spoken from here on. */
  readonly version: number;
  /** Those the server speaks. */
  readonly versions: Versions;
  /** Sent back in hello to resume; bytes of its own. */
  readonly session: Uint8Array;
  /** It is the session that the client presented. */
  readonly resumed: boolean;
  readonly epoch: bigint;
  /** The server's wall clock: a hint. */
  readonly serverTimeMs: number;
  readonly node: bigint;
  readonly limits: WelcomeLimits;
  /** The id of the space `default`. */
  readonly defaultSpace: number;
}

/** Why a server ends a connection. */
export interface Goodbye {
  readonly code: ErrorName;
  /** For a person; may be empty. */
  readonly message: string;
  /** Worth waiting so long before the next connection. */
  readonly retryAfterMs: number | undefined;
  /** Another connection may fare better. */
  readonly retryable: boolean;
  /** What is known of requests that are not answered yet. */
  readonly outcome: Outcome;
}

/** Builds a `hello` frame. */
export function buildHello(hello: Hello): OwnBytes {
  const payload = encode((builder) => {
    const token = hello.token === undefined ? 0 : builder.createString(hello.token);
    const session = hello.session === undefined ? 0 : builder.createByteVector(hello.session);
    const client = hello.client === undefined ? 0 : builder.createString(hello.client);
    builder.startObject(field.HELLO_FIELDS);
    builder.addFieldOffset(field.HELLO_TOKEN, token, 0);
    builder.addFieldOffset(field.HELLO_SESSION, session, 0);
    builder.addFieldOffset(field.HELLO_CLIENT, client, 0);
    builder.addFieldInt16(field.HELLO_VERSION_MIN, OURS.min, 0);
    builder.addFieldInt16(field.HELLO_VERSION_MAX, OURS.max, 0);
    return builder.endObject();
  });
  return buildSingle(FrameKind.hello, payload);
}

/**
 * Reads a `hello` frame, from whomever it comes.
 * @throws ProtocolError `invalid_frame`, `unsupported_version`, `too_large` (token or name),
 *   `session_refused` (the session is not a token at all)
 */
export function readHello(frame: Uint8Array): Hello {
  const payload = readSingle(frame, FrameKind.hello);
  return reading("hello", () => {
    const hello = Table.root(payload);
    const theirs = {
      min: hello.u16(field.HELLO_VERSION_MIN),
      max: hello.u16(field.HELLO_VERSION_MAX),
    };
    if (commonVersion(theirs) === undefined) {
      const message = `the client speaks ${versionsText(theirs)}, this server ${ourVersions()}`;
      throw new ProtocolError("unsupported_version", message);
    }
    // Sizes are looked at before bytes become text.
    atMost(hello.bytes(field.HELLO_TOKEN), TOKEN_BYTES_MAX, "the token");
    atMost(hello.bytes(field.HELLO_CLIENT), CLIENT_NAME_BYTES_MAX, "the client's name");
    const session = hello.bytes(field.HELLO_SESSION);
    if (session !== undefined && session.length !== SESSION_TOKEN_BYTES) {
      throw new ProtocolError("session_refused", "the session is not a token of this server");
    }
    return {
      token: hello.text(field.HELLO_TOKEN),
      session: session?.slice(),
      client: hello.text(field.HELLO_CLIENT),
    };
  });
}

/** Reads a `welcome` frame. @throws ProtocolError `invalid_frame` */
export function readWelcome(frame: Uint8Array): Welcome {
  const payload = readSingle(frame, FrameKind.welcome);
  return reading("welcome", () => {
    const welcome = Table.root(payload);
    const limits = welcome.table(field.WELCOME_LIMITS);
    const session = welcome.bytes(field.WELCOME_SESSION);
    if (limits === undefined || session?.length !== SESSION_TOKEN_BYTES) {
      throw new ProtocolError("invalid_frame", "the welcome lacks a session or limits");
    }
    return {
      version: welcome.u16(field.WELCOME_VERSION),
      versions: {
        min: welcome.u16(field.WELCOME_VERSION_MIN),
        max: welcome.u16(field.WELCOME_VERSION_MAX),
      },
      session: session.slice(),
      resumed: welcome.u8(field.WELCOME_RESUMED) !== 0,
      epoch: welcome.u64(field.WELCOME_EPOCH),
      serverTimeMs: welcome.count(field.WELCOME_SERVER_TIME_MS),
      node: welcome.u64(field.WELCOME_NODE),
      limits: {
        frameBytesMax: limits.u32(field.LIMITS_FRAME_BYTES_MAX),
        transactionBytesMax: limits.u32(field.LIMITS_TRANSACTION_BYTES_MAX),
        keyBytesMax: limits.u32(field.LIMITS_KEY_BYTES_MAX),
        valueBytesMax: limits.u32(field.LIMITS_VALUE_BYTES_MAX),
        operationsMax: limits.u32(field.LIMITS_OPERATIONS_MAX),
        guardsMax: limits.u32(field.LIMITS_GUARDS_MAX),
        window: limits.u32(field.LIMITS_WINDOW),
        outstandingBytesMax: limits.u32(field.LIMITS_OUTSTANDING_BYTES_MAX),
        sessionTtlMs: limits.count(field.LIMITS_SESSION_TTL_MS),
      },
      defaultSpace: welcome.u32(field.WELCOME_DEFAULT_SPACE),
    };
  });
}

/** Builds a `goodbye` frame. What it says of the error is what the table says. */
export function buildGoodbye(code: ErrorName, message: string, retryAfterMs = 0): OwnBytes {
  const payload = encode((builder) => {
    const messageAt = message === "" ? 0 : builder.createString(message);
    builder.startObject(field.GOODBYE_FIELDS);
    builder.addFieldInt32(field.GOODBYE_RETRY_AFTER_MS, retryAfterMs, 0);
    builder.addFieldOffset(field.GOODBYE_MESSAGE, messageAt, 0);
    const { number, retryable, outcome } = errors[code];
    builder.addFieldInt16(field.GOODBYE_CODE, number, 0);
    builder.addFieldInt8(field.GOODBYE_RETRYABLE, Number(retryable), 0);
    builder.addFieldInt8(field.GOODBYE_OUTCOME, outcomeNumber(outcome), 0);
    return builder.endObject();
  });
  return buildSingle(FrameKind.goodbye, payload);
}

/** Reads a `goodbye` frame. @throws ProtocolError `invalid_frame` */
export function readGoodbye(frame: Uint8Array): Goodbye {
  const payload = readSingle(frame, FrameKind.goodbye);
  return reading("goodbye", () => {
    const goodbye = Table.root(payload);
    const retryAfterMs = goodbye.u32(field.GOODBYE_RETRY_AFTER_MS);
    return {
      // An error of a newer server is a fault of the server to us, but for what it says of it.
      code: errorOfNumber(goodbye.u16(field.GOODBYE_CODE)) ?? "internal",
      message: goodbye.text(field.GOODBYE_MESSAGE) ?? "",
      retryAfterMs: retryAfterMs === 0 ? undefined : retryAfterMs,
      retryable: goodbye.u8(field.GOODBYE_RETRYABLE) !== 0,
      outcome: outcomeOfNumber(goodbye.u8(field.GOODBYE_OUTCOME)),
    };
  });
}

function atMost(bytes: Uint8Array | undefined, bytesMax: number, what: string): void {
  if (bytes !== undefined && bytes.length > bytesMax) {
    throw new ProtocolError("too_large", `${what} has more than ${bytesMax} bytes`);
  }
}
