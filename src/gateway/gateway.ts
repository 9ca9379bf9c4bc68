/**
 * The door for clients: WebSockets (at `/v1`) and HTTP beside them on one port, in front of one
 * engine. It moves bytes and applies policy; it never looks inside a transaction.
 */

import { type Authenticator, type Doors, principal } from "../policy/index.js";
import { MESSAGE_BYTES_MAX } from "../protocol/generated/limits.js";
import { Counters } from "./counters.js";
import { HttpDoor } from "./http/door.js";
import { Exchange } from "./http/exchange.js";
import { readRequest } from "./http/request.js";
import { SOCKET_PATHS } from "./http/routes.js";
import { ClientMemory } from "./memory.js";
import { Probe, type ProbeResult } from "./probe.js";
import { Seam, type Tenant, type TrafficEngine } from "./seam.js";
import { Slots } from "./slots.js";
import { Sockets } from "./sockets.js";
import { StatelessDoor } from "./stateless.js";
import type {
  App,
  ListenSocket,
  Peer,
  RequestHead,
  Response,
  SocketBehavior,
  TlsFiles,
  Transport,
} from "./transport.js";
import { TurnedAway, type TurnedAwayLog } from "./turned-away.js";
import {
  Connection,
  type ConnectionContext,
  type ConnectionLimits,
} from "./websocket/connection.js";

export interface GatewayOptions {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly tls: TlsFiles | undefined;
  readonly doors: Doors;
  readonly authenticator: Authenticator;
  readonly limits: ConnectionLimits;
  /** Sockets at a time, whatever they speak. */
  readonly connectionsMax: number;
  /** Bytes kept for all clients: half frames, unread replies, HTTP bodies and answers. */
  readonly memoryBytesMax: number;
  readonly httpRequestsMax: number;
  readonly idleTimeoutMs: number;
  readonly requestTimeoutMs: number;
  /** Told whom the gateway turned away, sampled. */
  readonly log: TurnedAwayLog;
}

/** Room above the limit for a goodbye. */
const TRANSPORT_SLACK_BYTES = 64 * 1024;

const SWEEP_INTERVAL_MS = 250;
const DRAIN_POLL_MS = 10;

/** Whose keys the server's own attempts go under. No token's name has a space. */
const PROBE_CALLER = principal("server probe", "full");

interface SocketData {
  connection: Connection | undefined;
}

/**
 * The connection of a peer. uWebSockets.js hangs the data it was given on the peer itself; to look
 * there first saves a call into native code with every message.
 */
function connectionOf(peer: Peer<SocketData> & Partial<SocketData>): Connection | undefined {
  return peer.connection ?? peer.getUserData().connection;
}

export class Gateway {
  readonly counters = new Counters();
  readonly #options: GatewayOptions;
  readonly #app: App;
  readonly #seam: Seam;
  readonly #sockets: Sockets;
  readonly #memory: ClientMemory;
  readonly #turnedAway: TurnedAway;
  readonly #http: HttpDoor;
  readonly #probe: Probe;
  readonly #context: ConnectionContext;
  readonly #connections = new Set<Connection>();
  readonly #listenSocket: ListenSocket;
  readonly #sweeper: NodeJS.Timeout;
  #draining = false;
  #closed = false;

  /** Listens at once. Throws where the port or the certificate can't be used. */
  constructor(transport: Transport, engine: TrafficEngine, options: GatewayOptions) {
    const slots = new Slots<Tenant>();
    const { counters } = this;
    const now = () => performance.now();
    this.#options = options;
    this.#seam = new Seam(engine, slots, counters);
    this.#memory = new ClientMemory(options.memoryBytesMax, counters);
    this.#turnedAway = new TurnedAway(options.log, now);
    this.#sockets = new Sockets(options.connectionsMax, counters, this.#turnedAway);
    this.#context = {
      seam: this.#seam,
      slots,
      authenticator: options.authenticator,
      counters,
      memory: this.#memory,
      turnedAway: this.#turnedAway,
      limits: options.limits,
      isDraining: () => this.#draining,
      now,
      waiting: new Set(),
    };
    this.#probe = new Probe(new StatelessDoor(this.#seam, slots, counters), PROBE_CALLER);
    this.#http = new HttpDoor(
      {
        seam: this.#seam,
        slots,
        counters,
        sockets: this.#sockets,
        turnedAway: this.#turnedAway,
      },
      options,
    );
    this.#app = transport.createApp(options.tls);
    this.#route(transport);
    try {
      this.#listenSocket = transport.listen(this.#app, options.host, options.port);
    } catch (error) {
      this.#app.close();
      throw error;
    }
    this.#sweeper = setInterval(() => this.#sweep(), SWEEP_INTERVAL_MS);
    this.#sweeper.unref();
  }

  /** The port it listens on. */
  get port(): number {
    return this.#listenSocket.port;
  }

  /** When a client's write last went the whole way and was answered, by `performance.now()`. */
  get progressMs(): number {
    return this.#seam.progressMs;
  }

  /** Writes and reads in a space by itself, changing nothing; always settles. */
  probe(space: number, timeoutMs: number): Promise<ProbeResult> {
    return this.#probe.attempt(space, timeoutMs);
  }

  /** The engine has frames for the connections. */
  onWake(): void {
    this.#seam.drain();
  }

  /**
   * Accepts nothing more, lets every connection and request finish what was accepted, and says
   * goodbye. Resolves once all are gone or the time is up.
   */
  async drain(timeoutMs: number): Promise<void> {
    if (this.#closed) return;
    if (!this.#draining) this.#listenSocket.close();
    this.#draining = true;
    this.#http.drain();
    const deadlineMs = performance.now() + timeoutMs;
    for (const connection of [...this.#connections]) connection.leave();
    while (this.#connections.size + this.#http.inProgress > 0 && performance.now() < deadlineMs) {
      await new Promise((resolve) => setTimeout(resolve, DRAIN_POLL_MS));
    }
  }

  /** Says goodbye to whoever is left and closes everything. The process must not exit before it. */
  close(code: "shutting_down" | "internal", message: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#draining = true;
    clearInterval(this.#sweeper);
    for (const connection of [...this.#connections]) connection.goodbye(code, message);
    this.#http.fail({ code, message });
    this.#app.close();
  }

  #route(transport: Transport): void {
    const { limits, idleTimeoutMs } = this.#options;
    // The transport keeps what has arrived of a message unseen; so a message is small.
    const behavior: SocketBehavior<SocketData> = {
      maxPayloadLength: MESSAGE_BYTES_MAX,
      maxBackpressure: limits.sendBufferBytesMax + TRANSPORT_SLACK_BYTES,
      idleTimeout: Math.round(idleTimeoutMs / 1000),
      sendPingsAutomatically: true,
      compression: transport.noCompression,
      upgrade: (response, head, context) => this.#onUpgrade(response, head, context),
      open: (peer) => this.#onOpen(peer),
      message: (peer, message, isBinary) => {
        connectionOf(peer)?.onMessage(message, isBinary);
      },
      drain: (peer) => peer.getUserData().connection?.onDrained(),
      close: (peer) => this.#onClose(peer),
    };
    this.#app.filter((response, change) => this.#sockets.onChange(response, change));
    for (const path of SOCKET_PATHS) this.#app.ws(path, behavior);
    this.#app.any("/*", (response, head) => {
      this.#http.onRequest(new Exchange(response, readRequest(head), this.#memory));
    });
  }

  #onUpgrade(response: Response, head: RequestHead, context: unknown): void {
    const exchange = new Exchange(response, readRequest(head), this.#memory);
    if (this.#http.refusesEntry(exchange)) return;
    if (this.#draining) {
      exchange.fail({ code: "shutting_down" }, true);
    } else {
      // No subprotocol is chosen and no extension agreed: the frames say their own version.
      const data: SocketData = { connection: undefined };
      response.upgrade(data, head.getHeader("sec-websocket-key"), "", "", context);
    }
  }

  #onOpen(peer: Peer<SocketData>): void {
    const connection = new Connection(this.#context, peer);
    peer.getUserData().connection = connection;
    this.#connections.add(connection);
    this.counters.connectionsOpened += 1;
    if (this.#sockets.areTooMany) {
      connection.goodbye("too_many_connections", this.#sockets.problem);
    }
  }

  #onClose(peer: Peer<SocketData>): void {
    this.#sockets.onWebSocketClosed();
    const { connection } = peer.getUserData();
    if (connection === undefined) return;
    connection.onClosed();
    this.#connections.delete(connection);
    this.counters.connectionsClosed += 1;
  }

  #sweep(): void {
    this.#turnedAway.sweep();
    const nowMs = this.#context.now();
    for (const connection of [...this.#context.waiting]) connection.onSweep(nowMs);
  }
}
