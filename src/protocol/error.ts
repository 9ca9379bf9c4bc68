import type { ErrorName } from "./generated/errors.js";

/** Bytes, or an object to be encoded, that are not what the protocol asks for. */
export class ProtocolError extends Error {
  override readonly name = "ProtocolError";
  readonly code: ErrorName;

  constructor(code: ErrorName, message: string, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause });
    this.code = code;
  }
}

/**
 * Runs a reader. Readers check what they mean; that they stay within their bytes is left to
 * DataView and TextDecoder, whose errors become `invalid_frame` here.
 */
export function reading<T>(what: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (cause instanceof RangeError || cause instanceof TypeError) {
      throw new ProtocolError("invalid_frame", `malformed ${what}`, cause);
    }
    throw cause;
  }
}
