import { invalidArgument } from "./errors.js";

/** The two halves of a request id: the session's token and the place in it. */
export interface RequestId {
  /** As in the id's text. */
  readonly session: string;
  readonly sessionBytes: Uint8Array;
  readonly sequence: number;
}

/** A session's token as text that is safe in files, URLs and logs: base64url. */
export function sessionText(token: Uint8Array): string {
  const base64 = btoa(String.fromCharCode(...token));
  return base64.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** @throws DompError `invalid_argument` */
export function parseRequestId(text: string): RequestId {
  const match = /^([\w-]{1,128})\.([1-9]\d{0,15})$/.exec(text);
  const [, session = "", digits = ""] = match ?? [];
  const sequence = Number(digits);
  if (match === null || !Number.isSafeInteger(sequence)) {
    throw invalidArgument("not a request id; an error's `requestId` is one");
  }
  try {
    const binary = atob(session.replaceAll("-", "+").replaceAll("_", "/"));
    const sessionBytes = Uint8Array.from(binary, (character) => character.charCodeAt(0));
    return { session, sessionBytes, sequence };
  } catch (cause) {
    throw invalidArgument("not a request id; an error's `requestId` is one", cause);
  }
}
