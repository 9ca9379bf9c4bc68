import { TOKEN_BYTES_MAX } from "../protocol/generated/limits.js";
import type { BackoffLimits } from "./backoff.js";
import type { ConnectionState } from "./connection.js";
import { type Environment, systemEnvironment } from "./environment.js";
import { invalidArgument } from "./errors.js";
import { checkTimeout, type RequestsOptions } from "./requests.js";
import type { Transport } from "./transport.js";

/** How to connect, and the bounds of everything that waits. All of it may be left out. */
export interface ConnectOptions {
  /** Proves who you are; a function is asked anew for each connection, so tokens may expire. */
  readonly token?: string | (() => string | Promise<string>) | undefined;
  /** In which time each request settles unless told otherwise; default 10 s. */
  readonly timeoutMs?: number | undefined;
  /** In which time `connect` settles; default `timeoutMs`. */
  readonly connectTimeoutMs?: number | undefined;
  /** Gives up connecting. Has no effect once connected. */
  readonly signal?: AbortSignal | undefined;
  /** Hears of every change of the connection. Must not throw. */
  readonly onState?: ((state: ConnectionState) => void) | undefined;
  /** Requests that may wait for answers at one time; beyond it calls fail with `queue_full`. */
  readonly queue?:
    | {
        /** Default 16,384. */
        readonly requestsMax?: number | undefined;
        /** Default 64 MiB. */
        readonly bytesMax?: number | undefined;
      }
    | undefined;
  /** Pauses between attempts to connect again: full jitter; default 100 ms, doubling up to 5 s. */
  readonly reconnect?: Partial<BackoffLimits> | undefined;
  /** After so long without hearing anything the server is asked for a sign; default 30 s. */
  readonly heartbeatMs?: number | undefined;
  /** Name and version of your program, for the server's logs. */
  readonly client?: string | undefined;
  /** Another way to carry frames than WebSockets. */
  readonly transport?: Transport | undefined;
}

/** Options with every default in place. */
export interface ResolvedOptions {
  readonly token: string | (() => string | Promise<string>) | undefined;
  readonly timeoutMs: number;
  /** The first connection must stand within this time. */
  readonly connectTimeoutMs: number;
  /** One attempt to connect may take so long. */
  readonly attemptTimeoutMs: number;
  readonly onState: ((state: ConnectionState) => void) | undefined;
  readonly requests: RequestsOptions;
  readonly reconnect: BackoffLimits;
  readonly heartbeatMs: number;
  readonly client: string;
  readonly transport: Transport;
  readonly environment: Environment;
}

const TIMEOUT_MS = 10_000;
const ATTEMPT_TIMEOUT_MS = 5_000;
const HEARTBEAT_MS = 30_000;
const RECONNECT: BackoffLimits = { firstMs: 100, mostMs: 5_000 };
const RETRY: BackoffLimits = { firstMs: 20, mostMs: 2_000 };
const REQUESTS_MAX = 16_384;
const BYTES_MAX = 64 * 1024 * 1024;
const CLIENT_CHARACTERS_MAX = 128;

/** @throws DompError `invalid_argument` */
export function resolveOptions(
  options: ConnectOptions,
  transport: Transport,
  environment: Environment = systemEnvironment(),
): ResolvedOptions {
  const { token, client = "domp/client" } = options;
  if (typeof token === "string" && token.length > TOKEN_BYTES_MAX) {
    throw invalidArgument(`a token has at most ${TOKEN_BYTES_MAX} bytes`);
  }
  const timeoutMs = checkTimeout(options.timeoutMs ?? TIMEOUT_MS);
  const reconnect = {
    firstMs: positive(options.reconnect?.firstMs ?? RECONNECT.firstMs, "reconnect.firstMs"),
    mostMs: positive(options.reconnect?.mostMs ?? RECONNECT.mostMs, "reconnect.mostMs"),
  };
  return {
    token,
    timeoutMs,
    connectTimeoutMs: checkTimeout(options.connectTimeoutMs ?? timeoutMs),
    attemptTimeoutMs: ATTEMPT_TIMEOUT_MS,
    onState: options.onState,
    requests: {
      requestsMax: positive(options.queue?.requestsMax ?? REQUESTS_MAX, "queue.requestsMax"),
      bytesMax: positive(options.queue?.bytesMax ?? BYTES_MAX, "queue.bytesMax"),
      retry: RETRY,
    },
    reconnect,
    heartbeatMs: positive(options.heartbeatMs ?? HEARTBEAT_MS, "heartbeatMs"),
    client: client.slice(0, CLIENT_CHARACTERS_MAX),
    transport: options.transport ?? transport,
    environment,
  };
}

/** Zero never means unlimited. */
function positive(value: number, name: string): number {
  if (!(value > 0 && Number.isFinite(value))) throw invalidArgument(`${name} must be above 0`);
  return value;
}
