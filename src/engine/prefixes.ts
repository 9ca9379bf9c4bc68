/** What stands before the body of the records of a caller: `attach` and `stateless`. */

const READ_ONLY = 1;

/** The part before the session token or the frame. `principal` is a stable 64-bit hash. */
export function callerPrefix(principal: bigint, readOnly: boolean): Uint8Array {
  const prefix = new Uint8Array(16);
  new DataView(prefix.buffer).setBigUint64(0, principal, true);
  prefix[8] = readOnly ? READ_ONLY : 0;
  return prefix;
}
