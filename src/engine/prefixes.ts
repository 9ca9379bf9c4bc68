/** What stands before the body of the records that let somebody in. */

const READ_ONLY = 1;
const HAS_KEY = 2;

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

/** The part of a `stateless` body before the frame. `key`: 16 bytes, a hash of the idempotency key. */
export function statelessPrefix(
  principal: bigint,
  readOnly: boolean,
  key?: Uint8Array,
): Uint8Array {
  const prefix = new Uint8Array(32);
  new DataView(prefix.buffer).setBigUint64(0, principal, true);
  prefix[8] = (readOnly ? READ_ONLY : 0) | (key === undefined ? 0 : HAS_KEY);
  if (key !== undefined) {
    if (key.length !== 16) throw new RangeError("the hash of an idempotency key has 16 bytes");
    prefix.set(key, 16);
  }
  return prefix;
}
