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

/** Characters that tell a session from any other: birth, nonce, principal. The rest changes. */
const NAME_CHARACTERS = 32;

/** Do two tokens, as texts, name one session? */
export function isSameSession(one: string, other: string): boolean {
  return one.slice(0, NAME_CHARACTERS) === other.slice(0, NAME_CHARACTERS);
}

/** What request ids of one request have in common, however often its session was resumed. */
export function requestName(requestId: string): string {
  return requestId.slice(0, NAME_CHARACTERS) + requestId.slice(requestId.indexOf("."));
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
