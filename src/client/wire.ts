/** What the SDK uses of the protocol, under the names it goes by here. */
export { ProtocolError } from "../protocol/error.js";
export { type ErrorDetail, readErrorDetail } from "../protocol/error-detail.js";
export {
  buildFrame,
  FRAME_HEADER_BYTES,
  type FrameItem,
  FrameKind,
  frameKind,
  frameSpace,
  itemBytes,
  type Reply,
  readReplies,
} from "../protocol/frame.js";
export {
  buildHello,
  type Goodbye,
  readGoodbye,
  readWelcome,
  type Welcome,
} from "../protocol/hello.js";
export { keyOf, locate } from "../protocol/locate.js";
export {
  decodeKeyOutcome,
  decodeResults,
  type Entry as WireEntry,
  type KeyOutcome as WireKeyOutcome,
  type Result as WireResult,
} from "../protocol/results.js";
export {
  encodeOutcomeOfRequest,
  encodeOutcomeRequest,
  encodeTransaction,
  type Guard as WireGuard,
  isWrite,
  META_SPACE,
  type Operation as WireOperation,
  type StoredValue,
} from "../protocol/transaction.js";
