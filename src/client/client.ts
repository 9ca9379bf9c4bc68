import type { ErrorName } from "../protocol/generated/errors.js";
import { FRAME_ITEMS_MAX } from "../protocol/generated/limits.js";
import { type Codec, json } from "./codecs.js";
import { Connection, type ConnectionHost, type ConnectionState } from "./connection.js";
import { Core, DEFAULT_SPACE } from "./core.js";
import { DompError } from "./errors.js";
import type { ResolvedOptions } from "./options.js";
import { sessionText } from "./request-id.js";
import { type ConnectionLimits, Requests } from "./requests.js";
import { Space } from "./space.js";
import { Spaces } from "./spaces.js";
import type { Welcome } from "./wire.js";

export interface CloseOptions {
  /** Don't wait for requests that are under way; they fail with `closed`. Default false. */
  readonly abort?: boolean | undefined;
}

/** What handles stand on, for those who speak the protocol's own terms (the command line). */
export let coreOf: (client: Client) => Core;

/**
 * One connection to a server, or to one of a cluster's, kept up through breaks and restarts. Made by {@link connect}; ended
 * by {@link Client.close}.
 */
export class Client {
  static {
    coreOf = (client) => client.#core;
  }

  /** Creates, lists and drops spaces. */
  readonly spaces: Spaces;
  readonly #options: ResolvedOptions;
  readonly #core: Core;
  readonly #requests: Requests;
  readonly #connection: Connection;
  readonly #readyWaiters = new Set<(error: DompError | undefined) => void>();
  #state: ConnectionState = { state: "connecting", attempt: 0 };
  #limits: ConnectionLimits | undefined;
  #session: Uint8Array = new Uint8Array(0);
  /** The same as text: every request's id begins with it. */
  #sessionText = "";
  #defaultSpace = 0;
  #flushing = false;
  #closing: Promise<void> | undefined;

  /** @internal Use {@link connect}. */
  constructor(urls: readonly string[], options: ResolvedOptions) {
    this.#options = options;
    this.#requests = new Requests(options.environment, options.requests, {
      wake: () => this.#flushAtEndOfTick(),
      renewSession: (code) => this.#connection.renewSession(code),
      requestId: (space, sequence) => `${this.#sessionText}.${space}.${sequence}`,
      session: () => this.#session,
      isReady: () => this.#connection.isReady,
    });
    this.#core = new Core(
      options.environment,
      options.timeoutMs,
      this.#requests,
      () => this.#sessionText,
    );
    this.spaces = new Spaces(this.#core);
    this.#connection = new Connection(urls, options, this.#host());
  }

  /** Where the connection stands now; `onState` of {@link ConnectOptions} hears of changes. */
  get state(): ConnectionState {
    return this.#state;
  }

  /** Requests that wait for an answer, sent or not. */
  get pending(): number {
    return this.#requests.pendingCount;
  }

  /**
   * A handle on a space. Costs nothing: whether the space exists shows at the first request. The
   * codec says what its values are; without one they are JSON.
   *
   * @example
   * ```ts
   * const players = db.space("default", json<Player>());
   * const scores = db.space("default", numbers);
   * const notes = db.space<Note>("notes"); // JSON
   * ```
   */
  space<V = unknown>(name: string, codec: Codec<V> = json<V>()): Space<V> {
    return new Space(this.#core, name, codec);
  }

  /**
   * Ends the client. Waits for the requests under way (each settles by its deadline) unless told
   * to abort them; new ones are refused with `closed` at once.
   */
  close(options: CloseOptions = {}): Promise<void> {
    this.#requests.refuse("closed", "the client is closed");
    this.#closing ??= new Promise<void>((resolve) => {
      this.#requests.whenIdle(() => {
        this.#end(undefined);
        resolve();
      });
    });
    if (options.abort) this.#requests.abandonAll("closed", "the client was closed");
    return this.#closing;
  }

  /** The end of an `await using`: as {@link Client.close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Connects for the first time. @internal */
  open(signal: AbortSignal | undefined): Promise<void> {
    const { environment, connectTimeoutMs: timeoutMs } = this.#options;
    return new Promise((resolve, reject) => {
      const settle = (error: DompError | undefined): void => {
        environment.clearTimer(timer);
        signal?.removeEventListener("abort", onAbort);
        this.#readyWaiters.delete(settle);
        if (error === undefined) {
          resolve();
          return;
        }
        this.#end(error);
        reject(error);
      };
      const onAbort = (): void =>
        settle(new DompError("aborted", "given up", { outcome: "not_submitted" }));
      const timer = environment.setTimer(() => {
        const reason = this.#connection.lastReason || "no answer";
        settle(new DompError("unreachable", `no connection within ${timeoutMs} ms: ${reason}`));
      }, timeoutMs);
      this.#readyWaiters.add(settle);
      signal?.addEventListener("abort", onAbort, { once: true });
      if (signal?.aborted) onAbort();
      else this.#connection.start();
    });
  }

  #host(): ConnectionHost {
    return {
      onReady: (welcome) => this.#onReady(welcome),
      onReplies: (frame) => {
        this.#requests.onReplies(frame);
        this.#renewWhenQuiet();
      },
      onDisconnect: () => this.#requests.onDisconnect(),
      onSessionLost: (code) => this.#requests.onSessionLost(code),
      onFatal: (code, message) => this.#onFatal(code, message),
      onState: (state) => {
        this.#state = state;
        this.#options.onState?.(state);
      },
      probe: (timeoutMs) => this.#probe(timeoutMs),
    };
  }

  #onReady(welcome: Welcome): void {
    const { limits } = welcome;
    this.#session = welcome.session;
    this.#sessionText = sessionText(welcome.session);
    this.#defaultSpace = welcome.defaultSpace;
    // Another session may be one on other data, where ids stand for other spaces.
    if (!welcome.resumed) this.#core.forgetSpaces();
    this.#core.hintSpace(DEFAULT_SPACE, welcome.defaultSpace);
    this.#limits = {
      window: limits.window,
      outstandingBytesMax: limits.outstandingBytesMax,
      frameBytesMax: limits.frameBytesMax,
      frameItemsMax: FRAME_ITEMS_MAX,
    };
    for (const waiter of [...this.#readyWaiters]) waiter(undefined);
    this.#flush();
  }

  #onFatal(code: ErrorName, message: string): void {
    const error = new DompError(code, message);
    for (const waiter of [...this.#readyWaiters]) waiter(error);
    this.#end(error, message);
  }

  /** No connection is made any more; whoever still waits is told why. */
  #end(error: DompError | undefined, message = "the client is closed"): void {
    const code = error?.code ?? "closed";
    this.#requests.refuse(code, message);
    this.#requests.abandonAll(code, message);
    this.#connection.close(error);
  }

  /** What is issued in one tick leaves in one frame a space. */
  #flushAtEndOfTick(): void {
    if (this.#flushing || !this.#connection.isReady) return;
    this.#flushing = true;
    this.#options.environment.defer(() => {
      this.#flushing = false;
      this.#flush();
    });
  }

  #flush(): void {
    while (this.#connection.isReady && !this.#connection.isRenewing && this.#limits) {
      const frame = this.#requests.takeFrame(this.#limits);
      if (frame === undefined) return;
      this.#connection.send(frame);
    }
  }

  /** A session is given up when nothing is under way in it any more. */
  #renewWhenQuiet(): void {
    if (this.#connection.isRenewing && !this.#requests.isAnythingInFlight) {
      this.#connection.reset("the session has ended; a new one is needed");
    }
  }

  /** Asks the server for a sign of life: the smallest transaction there is. */
  #probe(timeoutMs: number): void {
    const draft = { guards: [], then: [] };
    const deadlineMs = this.#options.environment.now() + timeoutMs;
    this.#core
      .submitTo(this.#defaultSpace, draft, { deadlineMs, signal: undefined }, () => undefined)
      // Any answer is a sign of life; none is noticed by the heartbeat.
      .catch(() => undefined);
  }
}
