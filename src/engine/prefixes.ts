/** What stands before the body of the records that let somebody in. */

const READ_ONLY = 1;

/** The part of an `attach` body before the session token. `principal` is a stable 64-bit hash. */
export function attachPrefix(
  principal: bigint,
  readOnly: boolean,
  door: "websocket" | "http",
): Uint8Array {
  const prefix = new Uint8Array(16);
  new DataView(prefix.buffer).setBigUint64(0, principal, true);
  prefix[8] = readOnly ? READ_ONLY : 0;
  prefix[9] = door === "http" ? 1 : 0;
  return prefix;
}

/** The part of a `stateless` body before the frame. */
export function statelessPrefix(principal: bigint, readOnly: boolean): Uint8Array {
  const prefix = new Uint8Array(16);
  new DataView(prefix.buffer).setBigUint64(0, principal, true);
  prefix[8] = readOnly ? READ_ONLY : 0;
  return prefix;
}
