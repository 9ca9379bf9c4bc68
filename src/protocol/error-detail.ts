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
  /** Index of the operation or guard concerned. */
  readonly operation: number | undefined;
  /** Worth waiting so long before another attempt. */
  readonly retryAfterMs: number | undefined;
}

const NOTHING: ErrorDetail = { message: "", operation: undefined, retryAfterMs: undefined };

/** Reads the payload of a reply with an error. @throws ProtocolError `invalid_frame` */
export function readErrorDetail(payload: Uint8Array): ErrorDetail {
  if (payload.length === 0) return NOTHING;
  return reading("error detail", () => {
    const detail = Table.root(payload);
    const operation = detail.i32(field.ERROR_DETAIL_OPERATION, -1);
    const retryAfterMs = detail.u32(field.ERROR_DETAIL_RETRY_AFTER_MS);
    return {
      message: detail.text(field.ERROR_DETAIL_MESSAGE) ?? "",
      operation: operation < 0 ? undefined : operation,
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
