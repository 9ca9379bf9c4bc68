import { invalidArgument } from "./errors.js";

/** The parts of a request id: the session's token, the space, and the place in both. */
export interface RequestId {
  /** As in the id's text. */
  readonly session: string;
  readonly sessionBytes: Uint8Array;
  /** The id of the space. */
  readonly space: number;
  readonly sequence: number;
}

/** A session's token as text that is safe in files, URLs and logs: base64url. */
export function sessionText(token: Uint8Array): string {
  const base64 = btoa(String.fromCharCode(...token));
  return base64.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** Bytes that tell a session from any other: birth, nonce, principal. The rest of its token changes. */
const NAME_BYTES = 24;

/** Do two tokens name one session? */
export function isSameSession(one: Uint8Array, other: Uint8Array): boolean {
  return sessionText(one.subarray(0, NAME_BYTES)) === sessionText(other.subarray(0, NAME_BYTES));
}

/** @throws DompError `invalid_argument` */
export function parseRequestId(text: string): RequestId {
  const match = /^([\w-]{1,128})\.(0|[1-9]\d{0,9})\.([1-9]\d{0,15})$/.exec(text);
  const [, session = "", spaceDigits = "", digits = ""] = match ?? [];
  const space = Number(spaceDigits);
  const sequence = Number(digits);
  if (match === null || space >= 2 ** 32 || !Number.isSafeInteger(sequence)) {
    throw invalidArgument("not a request id; an error's `requestId` is one");
  }
  try {
    const binary = atob(session.replaceAll("-", "+").replaceAll("_", "/"));
    const sessionBytes = Uint8Array.from(binary, (character) => character.charCodeAt(0));
    return { session, sessionBytes, space, sequence };
  } catch (cause) {
    throw invalidArgument("not a request id; an error's `requestId` is one", cause);
  }
}
