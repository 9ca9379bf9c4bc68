/** What stands behind the code of an error: the payload of a reply that carries one. */

import { addU32, encode } from "./builder.js";
import { reading } from "./error.js";
import type { OwnBytes } from "./frame.js";
import * as field from "./generated/fields.js";
import { Table } from "./table.js";

/** What an error says beyond its code. */
export interface ErrorDetail {
  /** For a person; may be empty. */
  readonly message: string;
  /** Index of the operation concerned, in the branch that ran. */
  readonly operation: number | undefined;
  /** Index of the guard concerned. */
  readonly guard: number | undefined;
  /** The key concerned; bytes of its own. */
  readonly key: Uint8Array | undefined;
  /** Worth waiting so long before another attempt. */
  readonly retryAfterMs: number | undefined;
}

const NOTHING: ErrorDetail = {
  message: "",
  operation: undefined,
  guard: undefined,
  key: undefined,
  retryAfterMs: undefined,
};

/** Reads the payload of a reply with an error. @throws ProtocolError `invalid_frame` */
export function readErrorDetail(payload: Uint8Array): ErrorDetail {
  if (payload.length === 0) return NOTHING;
  return reading("error detail", () => {
    const detail = Table.root(payload);
    const index = (number: number): number | undefined => (number < 0 ? undefined : number);
    const retryAfterMs = detail.u32(field.ERROR_DETAIL_RETRY_AFTER_MS);
    return {
      message: detail.text(field.ERROR_DETAIL_MESSAGE) ?? "",
      operation: index(detail.i32(field.ERROR_DETAIL_OPERATION, -1)),
      guard: index(detail.i32(field.ERROR_DETAIL_GUARD, -1)),
      key: detail.bytes(field.ERROR_DETAIL_KEY)?.slice(),
      retryAfterMs: retryAfterMs === 0 ? undefined : retryAfterMs,
    };
  });
}

/** Encodes the payload of a reply with an error. `retryAfterMs`: 0 says nothing. */
export function encodeErrorDetail(message: string, retryAfterMs = 0): OwnBytes {
  return encode((builder) => {
    const messageAt = message === "" ? 0 : builder.createString(message);
    builder.startObject(field.ERROR_DETAIL_FIELDS);
    addU32(builder, field.ERROR_DETAIL_RETRY_AFTER_MS, retryAfterMs, "retryAfterMs");
    builder.addFieldOffset(field.ERROR_DETAIL_MESSAGE, messageAt, 0);
    return builder.endObject();
  });
}
