/** From a path to what is meant by it. */

import { KEY_BYTES_MAX } from "../../protocol/generated/limits.js";

export type Route =
  | { readonly kind: "transactions" }
  | { readonly kind: "key"; readonly space: string; readonly key: Uint8Array }
  /** Where WebSockets connect; a plain request there is a mistake worth explaining. */
  | { readonly kind: "socket" }
  | { readonly kind: "malformed"; readonly message: string }
  | { readonly kind: "unknown" };

/** Where WebSockets connect: `/v1`, and the bare address for those who type it by hand. */
export const SOCKET_PATHS: readonly string[] = ["/v1", "/"];

const KEY_PATH = /^\/v1\/spaces\/([^/]+)\/keys\/(.+)$/;

/** Reads a path as it came, with its percent signs. */
export function routeOf(path: string): Route {
  if (path === "/v1/transactions") return { kind: "transactions" };
  if (SOCKET_PATHS.includes(path)) return { kind: "socket" };
  const match = KEY_PATH.exec(path);
  if (match === null) return { kind: "unknown" };
  const [, spacePart = "", keyPart = ""] = match;
  const space = decodeText(spacePart);
  const key = decodePercent(keyPart);
  if (space === undefined || key === undefined) {
    return { kind: "malformed", message: "the path has a broken percent escape" };
  }
  if (key.length > KEY_BYTES_MAX) {
    return { kind: "malformed", message: `a key has at most ${KEY_BYTES_MAX} bytes` };
  }
  return { kind: "key", space, key };
}

function decodeText(part: string): string | undefined {
  try {
    return decodeURIComponent(part);
  } catch {
    return undefined;
  }
}

const PERCENT = 0x25;

/**
 * The bytes behind a percent-encoded part of a path. Keys are bytes, so escapes need not form
 * UTF-8, and a slash that was not escaped belongs to the key.
 */
function decodePercent(part: string): Uint8Array | undefined {
  const encoded = Buffer.from(part, "utf8");
  const decoded = new Uint8Array(encoded.length);
  let length = 0;
  for (let at = 0; at < encoded.length; at += 1) {
    let byte = encoded[at] ?? 0;
    if (byte === PERCENT) {
      const digits = encoded.toString("latin1", at + 1, at + 3);
      if (!/^[0-9A-Fa-f]{2}$/.test(digits)) return undefined;
      byte = Number.parseInt(digits, 16);
      at += 2;
    }
    decoded[length] = byte;
    length += 1;
  }
  return decoded.slice(0, length);
}
