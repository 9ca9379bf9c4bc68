/**
 * A frame that comes in parts. The transport shows nobody a message of which only some has arrived;
 * so messages are small, and what is kept of a larger frame is kept here, where it is counted.
 */

import { ProtocolError } from "../../protocol/error.js";
import type { Part } from "../../protocol/frame.js";

export class HalfFrame {
  readonly #frameBytes: number;
  #parts: Uint8Array[] = [];
  #length = 0;

  /** Begins with its first part. @throws ProtocolError where that is none, or the frame too large */
  constructor({ frameBytes, offset }: Part, frameBytesMax: number) {
    if (offset !== 0)
      throw new ProtocolError("invalid_frame", "a frame begins with its first part");
    if (frameBytes > frameBytesMax) {
      throw new ProtocolError("too_large", `a frame may have ${frameBytesMax} bytes`);
    }
    this.#frameBytes = frameBytes;
  }

  /** Bytes that are kept of it. */
  get length(): number {
    return this.#length;
  }

  /**
   * Adds the next part; its bytes are copied. Returns the frame once it is whole.
   * @throws ProtocolError `invalid_frame` where it is not the next one
   */
  add({ frameBytes, offset, bytes }: Part): Uint8Array | undefined {
    if (offset !== this.#length || frameBytes !== this.#frameBytes) {
      throw new ProtocolError("invalid_frame", "a part is out of place");
    }
    this.#parts.push(bytes.slice());
    this.#length += bytes.length;
    if (this.#length < this.#frameBytes) return undefined;
    return Buffer.concat(this.#parts, this.#length);
  }
}
