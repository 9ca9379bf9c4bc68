/** What both entries of the SDK have in common. */
export { Client, type CloseOptions } from "./client.js";
export { bytes, type Codec, json, numbers, text } from "./codecs.js";
export type { ConnectionState } from "./connection.js";
export type { Entry, Page } from "./entries.js";
export { DompError, type ErrorName, type Outcome } from "./errors.js";
export type { Bounds, Key } from "./keys.js";
export {
  type AddOptions,
  type Guard,
  type Operation,
  op,
  type PutOptions,
  type RangeOptions,
  type ResultOf,
  type ResultsOf,
  when,
} from "./operations.js";
export type { ConnectOptions } from "./options.js";
export type { Range } from "./range.js";
export type { AnswerInfo, RequestOptions, WriteOptions } from "./request.js";
export type { RawResult } from "./results.js";
export type { KeyOutcome, RequestOutcome, Space, SubmitRequest, Submitted } from "./space.js";
export type { SpaceInfo, Spaces } from "./spaces.js";
export type { Transaction, TransactOptions } from "./transact.js";
export {
  type Transport,
  type TransportChannel,
  type TransportEvents,
  type WebSocketConstructor,
  type WebSocketLike,
  webSocketTransport,
} from "./transport.js";
export type { StoredValue } from "./wire.js";
