import type { ErrorName } from "../protocol/generated/errors.js";
import { fullJitterMs } from "./backoff.js";
import type { Environment, Timer } from "./environment.js";
import { type DompError, SESSION_GONE } from "./errors.js";
import type { ResolvedOptions } from "./options.js";
import type { TransportChannel } from "./transport.js";
import {
  buildHello,
  FrameKind,
  frameKind,
  type Goodbye,
  ProtocolError,
  readGoodbye,
  readWelcome,
  type Welcome,
} from "./wire.js";

/** Where a client stands; told to `onState`. */
export type ConnectionState =
  | { readonly state: "connecting"; readonly attempt: number }
  | {
      readonly state: "connected";
      /** Is it the session of before? Then requests that were under way are being resolved. */
      readonly resumed: boolean;
      /** Why the session of before is gone, if there was one: what it left open can't be told here. */
      readonly sessionLost?: ErrorName;
    }
  | {
      readonly state: "disconnected";
      /** For a person. */
      readonly reason: string;
      /** The server's reason, where it gave one that reached us: browsers hide a refused handshake. */
      readonly code?: ErrorName;
      /** The next attempt begins so many milliseconds from now. */
      readonly retryInMs: number;
    }
  | { readonly state: "closed"; readonly error: DompError | undefined };

/** What the connection tells its client. */
export interface ConnectionHost {
  /** A session is there, on a live connection; frames may be sent. */
  onReady(welcome: Welcome): void;
  /** A frame of replies. @throws ProtocolError `invalid_frame` */
  onReplies(frame: Uint8Array): void;
  /** The connection is gone; what was in flight has no answer. */
  onDisconnect(): void;
  /** The session of before will not be resumed. Called while its name is still known. */
  onSessionLost(code: ErrorName): void;
  /** The end: no further attempt is made. */
  onFatal(code: ErrorName, message: string): void;
  onState(state: ConnectionState): void;
  /** Nothing was heard for a while; ask something small. */
  probe(timeoutMs: number): void;
}

/** Refusals that another attempt with the same credentials would only meet again. */
const FATAL: ReadonlySet<ErrorName> = new Set<ErrorName>([
  "unauthenticated",
  "forbidden",
  "unsupported_version",
]);

/** A connection that stood so long begins its backoff anew. */
const STABLE_MS = 1_000;

/** Another address is tried after a pause drawn evenly from zero to this. */
const ELSEWHERE_MS = 20;

/**
 * Keeps one session alive, on whichever of its servers answers: hello and welcome, heartbeat, and after
 * a break an attempt after each jittered pause, for as long as the client is open. Of several addresses
 * the next one is tried at once, and only when none answered there is a longer pause.
 */
export class Connection {
  readonly #urls: readonly string[];
  /** Which of them is dialled now. */
  #at: number;
  /** Attempts since a session was last there. */
  #failures = 0;
  readonly #options: ResolvedOptions;
  readonly #environment: Environment;
  readonly #host: ConnectionHost;
  #channel: TransportChannel | undefined;
  /** Counts connections, so that a late callback of an old one is told apart. */
  #generation = 0;
  #ready = false;
  #closed = false;
  #attempt = 0;
  #readySinceMs = 0;
  #heardMs = 0;
  #probing = false;
  #goodbye: Goodbye | undefined;
  #timer: Timer | undefined;
  #session: Uint8Array | undefined;
  #lastReason = "";
  /** Why there is no session of before any more. */
  #sessionLost: ErrorName | undefined;
  /** The session is to be given up at the next disconnect. */
  #renewing: ErrorName | undefined;

  constructor(urls: readonly string[], options: ResolvedOptions, host: ConnectionHost) {
    this.#urls = urls;
    // Many clients with one list of servers spread over all of them.
    this.#at = urls.length > 1 ? Math.floor(options.environment.random() * urls.length) : 0;
    this.#options = options;
    this.#environment = options.environment;
    this.#host = host;
  }

  /** May frames be sent now? */
  get isReady(): boolean {
    return this.#ready;
  }

  /** Why there is no connection, for a person. */
  get lastReason(): string {
    return this.#lastReason;
  }

  /** Makes the first attempt. */
  start(): void {
    this.#open();
  }

  send(frame: Uint8Array): void {
    this.#channel?.send(frame);
  }

  /** Reconnects without the session, which the server does not take any more. */
  renewSession(code: ErrorName): void {
    this.#renewing ??= code;
  }

  /** Is the session being given up? Nothing more may be sent in it then. */
  get isRenewing(): boolean {
    return this.#renewing !== undefined;
  }

  /** Breaks the connection off, to connect again. */
  reset(reason: string): void {
    const channel = this.#channel;
    if (channel === undefined) return;
    // First, so that our reason is told, not that of the transport.
    this.#onClose(this.#generation, reason);
    channel.close();
  }

  /** Ends it for good. */
  close(error: DompError | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#ready = false;
    this.#generation += 1;
    this.#stopTimer();
    this.#channel?.close();
    this.#channel = undefined;
    this.#host.onState({ state: "closed", error });
  }

  #open(): void {
    this.#generation += 1;
    const generation = this.#generation;
    this.#goodbye = undefined;
    this.#host.onState({ state: "connecting", attempt: this.#attempt });
    this.#startTimer(this.#options.attemptTimeoutMs, () =>
      this.#onFailure(generation, "the server did not answer in time"),
    );
    const { token } = this.#options;
    if (typeof token !== "function") {
      this.#dial(generation, token);
      return;
    }
    // A token may be fetched anew for each connection.
    Promise.resolve()
      .then(token)
      .then(
        (fresh) => {
          if (generation === this.#generation) this.#dial(generation, fresh);
        },
        (cause: unknown) => this.#onFailure(generation, `no token: ${String(cause)}`),
      );
  }

  #dial(generation: number, token: string | undefined): void {
    try {
      this.#channel = this.#options.transport.open(this.#urls[this.#at] ?? "", {
        onOpen: () => {
          if (generation !== this.#generation) return;
          this.#channel?.send(
            buildHello({ token, session: this.#session, client: this.#options.client }),
          );
        },
        onFrame: (frame) => {
          if (generation === this.#generation) this.#onFrame(generation, frame);
        },
        onClose: (reason, code) => this.#onClose(generation, reason, code),
      });
    } catch (cause) {
      this.#onFailure(generation, String(cause));
    }
  }

  #onFrame(generation: number, frame: Uint8Array): void {
    this.#heardMs = this.#environment.now();
    this.#probing = false;
    try {
      switch (frameKind(frame)) {
        case FrameKind.welcome:
          this.#onWelcome(readWelcome(frame));
          return;
        case FrameKind.replies:
          this.#host.onReplies(frame);
          return;
        case FrameKind.goodbye:
          this.#goodbye = readGoodbye(frame);
          this.#onFailure(generation, `${this.#goodbye.code}: ${this.#goodbye.message}`);
          return;
        default:
          this.#onFailure(generation, "the server sent what is no frame of this protocol");
      }
    } catch (cause) {
      if (!(cause instanceof ProtocolError)) throw cause;
      this.#onFailure(generation, cause.message);
    }
  }

  #onWelcome(welcome: Welcome): void {
    if (this.#ready) return;
    if (this.#session !== undefined && !welcome.resumed) {
      this.#loseSession("session_expired");
    }
    const sessionLost = this.#sessionLost;
    this.#sessionLost = undefined;
    this.#session = welcome.session;
    this.#ready = true;
    this.#failures = 0;
    this.#readySinceMs = this.#environment.now();
    this.#heardMs = this.#readySinceMs;
    this.#lastReason = "";
    this.#heartbeat();
    this.#host.onReady(welcome);
    const { resumed } = welcome;
    this.#host.onState({ state: "connected", resumed, ...(sessionLost && { sessionLost }) });
  }

  #loseSession(code: ErrorName): void {
    this.#host.onSessionLost(code);
    this.#session = undefined;
    this.#sessionLost ??= code;
  }

  /** Looks, twice in each heartbeat, whether the server is still there. */
  #heartbeat(): void {
    const { heartbeatMs } = this.#options;
    this.#startTimer(heartbeatMs / 2, () => {
      const silentMs = this.#environment.now() - this.#heardMs;
      if (this.#probing && silentMs >= 2 * heartbeatMs) {
        this.reset(`nothing was heard for ${Math.round(silentMs)} ms`);
        return;
      }
      if (!this.#probing && silentMs >= heartbeatMs) {
        this.#probing = true;
        this.#host.probe(heartbeatMs);
      }
      this.#heartbeat();
    });
  }

  /** Ends a connection that failed from our side. */
  #onFailure(generation: number, reason: string): void {
    if (generation !== this.#generation || this.#closed) return;
    if (this.#channel === undefined) this.#onClose(generation, reason);
    else this.reset(reason);
  }

  /** `refusal`: why the handshake of the transport was refused. */
  #onClose(generation: number, reason: string, refusal?: ErrorName): void {
    if (generation !== this.#generation || this.#closed) return;
    this.#generation += 1;
    this.#channel = undefined;
    this.#stopTimer();
    const now = this.#environment.now();
    const wasReady = this.#ready;
    this.#ready = false;
    this.#probing = false;
    this.#lastReason = reason;
    const goodbye = this.#goodbye;
    if (wasReady) this.#host.onDisconnect();
    const told = goodbye?.code ?? refusal;
    if (told !== undefined && FATAL.has(told)) {
      this.#host.onFatal(told, goodbye?.message ?? reason);
      return;
    }
    let code = this.#renewing;
    if (told !== undefined && SESSION_GONE.has(told)) code ??= told;
    if (code !== undefined && this.#session !== undefined) this.#loseSession(code);
    const renewed = this.#renewing !== undefined;
    this.#renewing = undefined;
    if (wasReady && now - this.#readySinceMs >= STABLE_MS) this.#attempt = 0;
    const jitterMs = fullJitterMs(
      this.#options.reconnect,
      this.#attempt,
      this.#environment.random(),
    );
    // Giving up a session is our own doing: the server is there and waits.
    const pauseMs = renewed && this.#attempt === 0 ? 0 : jitterMs;
    let retryInMs = Math.max(pauseMs, goodbye?.retryAfterMs ?? 0);
    this.#failures += 1;
    if (this.#urls.length > 1 && !renewed) {
      this.#at = (this.#at + 1) % this.#urls.length;
      if (this.#failures < this.#urls.length) {
        retryInMs = Math.min(retryInMs, this.#environment.random() * ELSEWHERE_MS);
      }
    }
    this.#attempt += 1;
    const why = told ?? code;
    this.#host.onState({ state: "disconnected", reason, ...(why && { code: why }), retryInMs });
    // The state's listener may have closed us.
    if (!this.#closed) this.#startTimer(retryInMs, () => this.#open());
  }

  #startTimer(delayMs: number, callback: () => void): void {
    this.#stopTimer();
    this.#timer = this.#environment.setTimer(callback, delayMs);
  }

  #stopTimer(): void {
    if (this.#timer !== undefined) this.#environment.clearTimer(this.#timer);
    this.#timer = undefined;
  }
}
