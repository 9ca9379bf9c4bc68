/**
 * Every setting of the server: section, key, kind, default, bounds and meaning, in one table. The
 * types of the rest of the program, the file's validation, the names of environment variables and
 * flags, and what `domp config` prints are all read from here.
 *
 * Durations are milliseconds and sizes are bytes once read.
 */

import * as LIMITS from "../protocol/generated/limits.js";

/** One way in: its name (also the principal's), the hash of its secret, and what it may do. */
export interface TokenSetting {
  readonly name: string;
  /** SHA-256 of the secret, in lower-case hex; the secret itself is not kept. */
  readonly sha256: string;
  readonly access: "full" | "read";
}

interface Documented<Value> {
  readonly fallback: Value;
  readonly meaning: string;
}

export interface TextSetting extends Documented<string> {
  readonly kind: "text";
}
export interface PathSetting extends Documented<string> {
  readonly kind: "path";
}
export interface ChoiceSetting<Choice extends string = string> extends Documented<Choice> {
  readonly kind: "choice";
  readonly choices: readonly Choice[];
}
export interface NumberSetting extends Documented<number> {
  readonly kind: "count" | "duration" | "size";
  readonly min: number;
  readonly max: number;
}
export interface ListSetting extends Documented<readonly string[]> {
  readonly kind: "list";
}
export interface TokensSetting extends Documented<readonly TokenSetting[]> {
  readonly kind: "tokens";
}
export type Setting =
  | TextSetting
  | PathSetting
  | ChoiceSetting
  | NumberSetting
  | ListSetting
  | TokensSetting;

const text = (fallback: string, meaning: string): TextSetting => ({
  kind: "text",
  fallback,
  meaning,
});
const path = (fallback: string, meaning: string): PathSetting => ({
  kind: "path",
  fallback,
  meaning,
});
const list = (meaning: string): ListSetting => ({ kind: "list", fallback: [], meaning });
const choice = <const Choice extends string>(
  choices: readonly Choice[],
  fallback: NoInfer<Choice>,
  meaning: string,
): ChoiceSetting<Choice> => ({ kind: "choice", choices, fallback, meaning });
const count = (fallback: number, min: number, max: number, meaning: string): NumberSetting => ({
  kind: "count",
  fallback,
  min,
  max,
  meaning,
});
const duration = (fallback: number, min: number, max: number, meaning: string): NumberSetting => ({
  kind: "duration",
  fallback,
  min,
  max,
  meaning,
});
const size = (fallback: number, min: number, max: number, meaning: string): NumberSetting => ({
  kind: "size",
  fallback,
  min,
  max,
  meaning,
});

const KIB = 2 ** 10;
const MIB = 2 ** 20;
const GIB = 2 ** 30;
const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const PORT_MAX = 65_535;

export const SCHEMA = {
  data: {
    directory: path("./domp-data", "where the log and the snapshots are kept"),
  },
  clients: {
    host: text(
      "127.0.0.1",
      "address on which clients are served; an IPv4 or IPv6 address, or a name",
    ),
    port: count(7400, 0, PORT_MAX, "port on which clients are served; 0 takes a free one"),
    tls_cert: path("", "PEM file of the certificate chain; with tls_key it turns TLS on"),
    tls_key: path("", "PEM file of the certificate's private key"),
    allowed_origins: list(
      'web origins that may connect, such as "https://app.example"; "*" is any; empty: only pages of this host',
    ),
    allowed_hosts: list(
      "names by which clients may address this server; checked on loopback, without tokens, or when set",
    ),
    connections_max: count(
      LIMITS.CONNECTIONS_MAX,
      1,
      LIMITS.CONNECTIONS_MAX,
      "sockets at a time, WebSocket and HTTP; fewer where the limit of open files asks for it",
    ),
    http_requests_max: count(1024, 1, 65_536, "HTTP requests in progress at a time"),
    frame_max: size(
      LIMITS.FRAME_BYTES_MAX,
      4 * KIB,
      LIMITS.FRAME_BYTES_MAX,
      "the largest message a client may send",
    ),
    outstanding_max: size(
      LIMITS.OUTSTANDING_BYTES_MAX,
      64 * KIB,
      LIMITS.OUTSTANDING_BYTES_MAX,
      "request bytes one connection may have unanswered",
    ),
    send_buffer_max: size(
      LIMITS.SEND_BUFFER_BYTES_MAX,
      64 * KIB,
      256 * MIB,
      "reply bytes that may wait for one slow reader before it is closed",
    ),
    memory_max: size(
      LIMITS.CLIENT_MEMORY_BYTES_MAX,
      16 * MIB,
      64 * GIB,
      "what all clients together may make the server keep: half frames, unread replies, HTTP bodies and answers",
    ),
    hello_timeout: duration(
      5 * SECOND,
      100,
      MINUTE,
      "a connection must say hello within this time",
    ),
    idle_timeout: duration(
      2 * MINUTE,
      8 * SECOND,
      16 * MINUTE,
      "a connection that answers no ping for this long is closed",
    ),
    request_timeout: duration(
      10 * SECOND,
      10,
      LIMITS.TIMEOUT_MS_MAX,
      "how long an HTTP request may wait for its answer",
    ),
    drain_timeout: duration(
      10 * SECOND,
      0,
      10 * MINUTE,
      "how long a stopping server waits for the requests it has accepted",
    ),
    allow_insecure: text(
      "",
      'the words "yes, without protection" let clients in off loopback without tokens or TLS',
    ),
  },
  admin: {
    host: text("127.0.0.1", "address of the health and metrics listener"),
    port: count(7401, 0, PORT_MAX, "port of the health and metrics listener; 0 takes a free one"),
    tls_cert: path("", "PEM file of the admin listener's certificate chain"),
    tls_key: path("", "PEM file of that certificate's private key"),
    allow_insecure: text(
      "",
      'the words "yes, without protection" open the admin listener off loopback without tokens or TLS',
    ),
  },
  auth: {
    tokens: {
      kind: "tokens",
      fallback: [],
      meaning:
        "who may come in: a table each of name, access (full or read) and one of token, token_file, sha256",
    } satisfies TokensSetting as TokensSetting,
  },
  log: {
    dir: path("", "where the log is kept, if not in the data directory"),
    mode: choice(
      ["auto", "inline", "threaded"],
      "auto",
      "whether the worker writes the log itself, a thread of its own does, or each what suits it",
    ),
    segment_size: size(128 * MIB, 16 * MIB, 2 * GIB, "size of a log segment after the first"),
    snapshot_after: size(
      256 * MIB,
      MIB,
      1024 * GIB,
      "log written since a snapshot before the next",
    ),
  },
  cluster: {
    listen: text(
      "",
      "where this node listens for the cluster's other nodes, as HOST:PORT; empty: where they expect it",
    ),
  },
  worker: {
    busy_poll: choice(
      ["auto", "off"],
      "auto",
      "auto: under steady load the worker looks for work for a moment before it sleeps, which lowers latency for some of a core",
    ),
  },
  clock: {
    jump_max: duration(
      SECOND,
      0,
      HOUR,
      "a wall clock that leaves the monotonic one by more while the server runs is not followed",
    ),
  },
  sessions: {
    ttl: duration(
      LIMITS.SESSION_TTL_MS,
      SECOND,
      30 * DAY,
      "how long a session lives after its last use, in lease time",
    ),
    window: count(
      LIMITS.SESSION_WINDOW,
      1,
      LIMITS.SESSION_WINDOW,
      "requests one session may have outstanding in each space",
    ),
    sessions_max: count(LIMITS.SESSIONS_MAX, 1, 10_000_000, "sessions a shard keeps"),
    idempotency_ttl: duration(
      LIMITS.IDEMPOTENCY_TTL_MS,
      SECOND,
      DAY,
      "how long an Idempotency-Key is remembered after its first use, in lease time",
    ),
    idempotency_keys_max: count(
      LIMITS.IDEMPOTENCY_KEYS_MAX,
      1,
      LIMITS.IDEMPOTENCY_KEYS_MAX,
      "Idempotency-Keys a shard keeps",
    ),
  },
  logging: {
    level: choice(
      ["trace", "debug", "info", "warn", "error", "silent"],
      "info",
      "the least important lines that are still written",
    ),
    format: choice(
      ["auto", "json", "human"],
      "auto",
      "auto writes for people on a terminal and JSON elsewhere",
    ),
  },
} as const;

type Schema = typeof SCHEMA;
type ValueOf<S> = S extends Documented<infer Value> ? Value : never;

/** The whole configuration, as nested sections. Durations in milliseconds, sizes in bytes. */
export type Config = {
  readonly [Section in keyof Schema]: {
    readonly [Key in keyof Schema[Section]]: ValueOf<Schema[Section][Key]>;
  };
};

/** One row of the table, with the three names a person may use for it. */
export interface NamedSetting {
  readonly section: string;
  readonly key: string;
  /** `clients.port` */
  readonly name: string;
  /** `DOMP_CLIENTS_PORT` */
  readonly environment: string;
  /** `--clients-port` */
  readonly flag: string;
  readonly setting: Setting;
}

/** Every setting in the order of the table. */
export const SETTINGS: readonly NamedSetting[] = Object.entries(SCHEMA).flatMap(
  ([section, settings]) =>
    Object.entries(settings as Readonly<Record<string, Setting>>).map(([key, setting]) => ({
      section,
      key,
      name: `${section}.${key}`,
      environment: `DOMP_${section}_${key}`.toUpperCase(),
      flag: `--${section}-${key}`.replaceAll("_", "-"),
      setting,
    })),
);
