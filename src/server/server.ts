/**
 * The order of things: what a server opens when it starts, and closes when it stops.
 *
 * Start: judge exposure, admin listener (alive, not ready), engine with its recovery, gateway,
 * ready. Stop: not ready, gateway drained and closed, engine closed, admin listener closed. A
 * failure on the way closes what is open, in the same order.
 */

import { type AdminListener, clusterView, listenAdmin, ProcessProbe } from "../admin/index.js";
import type { Config } from "../config/index.js";
import { type Engine, type OpenReport, openEngine } from "../engine/index.js";
import { Gateway, loadTransport, type TlsFiles } from "../gateway/index.js";
import {
  Authenticator,
  Doors,
  formatAddress,
  isLoopbackHost,
  judgeExposure,
  normaliseHost,
} from "../policy/index.js";
import { filesMax, judgeDescriptors } from "./descriptors.js";
import type { Logger } from "./logging.js";
import { ReadinessCheck, type Stage } from "./readiness.js";

export interface ServerOptions {
  readonly log: Logger;
  /** Shown in the metrics. */
  readonly version: string;
}

export interface RunningServer {
  /** Where clients connect: `127.0.0.1:7400`, `[::1]:7400`. */
  readonly address: string;
  /** `ws://127.0.0.1:7400/v1` */
  readonly url: string;
  readonly port: number;
  readonly adminAddress: string;
  readonly adminPort: number;
  /** What the engine said of the data directory. */
  readonly report: OpenReport;
  /** Accepts nothing more and finishes what was accepted, within `clients.drain_timeout`. */
  drain(): Promise<void>;
  /** Drains, then closes everything. Can be called again. The process may exit after it. */
  stop(): Promise<void>;
  /**
   * Resolves with the reason if the server fails while it runs; everything is closed by then and
   * the process should end with an error. Never rejects.
   */
  readonly fatal: Promise<Error>;
}

/** A listener that may not start as it is configured. */
export class ExposureError extends Error {
  override readonly name = "ExposureError";
}

/** Starts a server. Whatever fails, nothing is left open. */
export async function startServer(config: Config, options: ServerOptions): Promise<RunningServer> {
  const server = new Server(config, options);
  try {
    await server.open();
  } catch (error) {
    await server.abandon();
    throw error;
  }
  return server;
}

/** Time the engine has beyond the gateway's to finish and to mark its log. */
const ENGINE_DRAIN_TIMEOUT_MS = 5_000;

class Server implements RunningServer {
  readonly fatal: Promise<Error>;
  readonly #config: Config;
  readonly #log: Logger;
  readonly #version: string;
  readonly #authenticator: Authenticator;
  #tellFatal: (error: Error) => void = () => undefined;
  #stage: Stage = "starting";
  #readiness: ReadinessCheck | undefined;
  #probe: ProcessProbe | undefined;
  #admin: AdminListener | undefined;
  #engine: Engine | undefined;
  #gateway: Gateway | undefined;
  #failure: Error | undefined;
  #draining: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;

  constructor(config: Config, { log, version }: ServerOptions) {
    this.#config = config;
    this.#log = log;
    this.#version = version;
    this.#authenticator = new Authenticator(config.auth.tokens);
    this.fatal = new Promise((resolve) => {
      this.#tellFatal = resolve;
    });
  }

  get port(): number {
    return this.#opened(this.#gateway).port;
  }

  get address(): string {
    return formatAddress(this.#config.clients.host, this.port);
  }

  get url(): string {
    return `${tlsOf(this.#config.clients) === undefined ? "ws" : "wss"}://${this.address}/v1`;
  }

  get adminPort(): number {
    return this.#opened(this.#admin).port;
  }

  get adminAddress(): string {
    return formatAddress(this.#config.admin.host, this.adminPort);
  }

  get report(): OpenReport {
    return this.#opened(this.#engine).report;
  }

  async open(): Promise<void> {
    this.#judgeExposure();
    const connectionsMax = this.#judgeDescriptors();
    // Before anything is opened: on the wrong Node nothing of the data is touched.
    const transport = await loadTransport();
    this.#probe = new ProcessProbe();
    this.#admin = await this.#listenAdmin(this.#probe);
    this.#engine = await this.#openEngine();
    const { clients } = this.#config;
    this.#gateway = new Gateway(transport, this.#engine, {
      host: normaliseHost(clients.host),
      port: clients.port,
      tls: tlsOf(clients),
      doors: new Doors({
        host: clients.host,
        hasTokens: this.#authenticator.required,
        allowedHosts: clients.allowed_hosts,
        allowedOrigins: clients.allowed_origins,
      }),
      authenticator: this.#authenticator,
      limits: {
        helloTimeoutMs: clients.hello_timeout,
        frameBytesMax: clients.frame_max,
        outstandingBytesMax: clients.outstanding_max,
        sendBufferBytesMax: clients.send_buffer_max,
      },
      connectionsMax,
      memoryBytesMax: clients.memory_max,
      httpRequestsMax: clients.http_requests_max,
      idleTimeoutMs: clients.idle_timeout,
      requestTimeoutMs: clients.request_timeout,
      log: this.#log,
    });
    // An engine can fail as soon as it is open, while nobody waits for `fatal` yet.
    if (this.#failure !== undefined) throw this.#failure;
    this.#readiness = new ReadinessCheck(this.#engine, this.#gateway);
    this.#stage = "serving";
    const adminScheme = tlsOf(this.#config.admin) === undefined ? "http" : "https";
    const admin = `${adminScheme}://${this.adminAddress}`;
    this.#log.info({ clients: this.url, admin }, "serving");
  }

  drain(): Promise<void> {
    this.#draining ??= this.#drain();
    return this.#draining;
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  /** Closes what an unfinished start has opened. */
  async abandon(): Promise<void> {
    this.#gateway?.close("shutting_down", "the server did not start");
    await this.#engine?.close().catch(() => undefined);
    await this.#closeAdmin();
  }

  async #drain(): Promise<void> {
    if (this.#stage === "serving") this.#stage = "draining";
    this.#log.info("draining");
    await this.#gateway?.drain(this.#config.clients.drain_timeout);
  }

  async #stop(): Promise<void> {
    await this.drain();
    // First the door: what the engine still answers then has nobody to go to.
    this.#gateway?.close("shutting_down", "the server is stopping");
    const closed = await this.#engine?.close();
    if (closed?.drained === false)
      this.#log.warn("the engine ended without finishing all requests");
    await this.#closeAdmin();
    this.#log.info("stopped");
  }

  /** Nothing can be answered any more: tell everybody, close, and let the owner end the process. */
  async #fail(error: Error): Promise<void> {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#stage = "failed";
    this.#log.fatal({ reason: error.message }, "the engine failed; the server ends");
    this.#gateway?.close("internal", "the server failed; what was outstanding is unknown");
    await this.#engine?.close().catch(() => undefined);
    await this.#closeAdmin();
    this.#tellFatal(error);
  }

  #judgeExposure(): void {
    for (const section of ["clients", "admin"] as const) {
      const settings = this.#config[section];
      const exposure = judgeExposure({
        section,
        host: settings.host,
        hasTokens: this.#authenticator.required,
        hasTls: tlsOf(settings) !== undefined,
        allowInsecure: settings.allow_insecure,
      });
      if (exposure.verdict === "refused") throw new ExposureError(exposure.problem);
      if (exposure.verdict === "insecure") this.#log.warn(exposure.warning);
    }
  }

  /** The sockets that the limit of open files leaves for clients. */
  #judgeDescriptors(): number {
    const verdict = judgeDescriptors(filesMax(), this.#config.clients.connections_max);
    if (!verdict.ok) throw new Error(verdict.problem);
    if (verdict.warning !== undefined) this.#log.warn(verdict.warning);
    return verdict.connectionsMax;
  }

  async #openEngine(): Promise<Engine> {
    const { data, log, clients, sessions, cluster, worker, clock } = this.#config;
    this.#log.info({ directory: data.directory }, "opening the data directory");
    const engine = await openEngine(
      {
        directory: data.directory,
        ...(log.dir === "" ? {} : { logDirectory: log.dir }),
        logMode: log.mode,
        segmentBytes: log.segment_size,
        snapshotAfterBytes: log.snapshot_after,
        frameBytesMax: clients.frame_max,
        outstandingBytesMax: clients.outstanding_max,
        sessionTtlMs: sessions.ttl,
        sessionWindow: sessions.window,
        sessionsMax: sessions.sessions_max,
        idempotencyTtlMs: sessions.idempotency_ttl,
        idempotencyKeysMax: sessions.idempotency_keys_max,
        clockJumpMaxMs: clock.jump_max,
        busyPoll: worker.busy_poll === "auto",
        drainTimeoutMs: ENGINE_DRAIN_TIMEOUT_MS,
        ...(cluster.listen === "" ? {} : { clusterListen: cluster.listen }),
      },
      () => this.#onWake(),
      (error) => void this.#fail(error),
      ({ message, level = "warn", ...fields }) => this.#log[level](fields, message),
    );
    this.#logReport(engine.report);
    return engine;
  }

  #logReport(report: OpenReport): void {
    const { node, fileSystem, logMode, flush, tookUs, recovery, cluster } = report;
    this.#log.info({ node, fileSystem, logMode, flush, tookUs, recovery }, "recovered");
    if (cluster !== null) this.#log.info(cluster, "one of a cluster");
    for (const warning of report.warnings) this.#log.warn(warning);
    if (!report.ready)
      this.#log.warn("the node does not serve yet; requests are answered unavailable");
  }

  #onWake(): void {
    if (this.#gateway === undefined) this.#engine?.drain(() => undefined);
    else this.#gateway.onWake();
  }

  #listenAdmin(probe: ProcessProbe): Promise<AdminListener> {
    const { admin } = this.#config;
    const isLocal = isLoopbackHost(admin.host);
    const hasTokens = this.#authenticator.required;
    return listenAdmin({
      host: normaliseHost(admin.host),
      port: admin.port,
      tls: tlsOf(admin),
      doors: new Doors({ host: admin.host, hasTokens, allowedHosts: [], allowedOrigins: [] }),
      authenticator: isLocal || !hasTokens ? undefined : this.#authenticator,
      readiness: async () =>
        this.#stage === "serving" && this.#readiness !== undefined
          ? this.#readiness.ask()
          : { ready: false, text: this.#stage },
      metrics: async () =>
        probe.render({
          version: this.#version,
          counters: this.#gateway?.counters,
          statistics: await this.#engine?.control("statistics").catch(() => undefined),
        }),
      cluster: async () => {
        if (this.#engine === undefined) throw new Error("the node is not open yet");
        return JSON.stringify(clusterView(await this.#engine.control("statistics")));
      },
    });
  }

  async #closeAdmin(): Promise<void> {
    this.#probe?.close();
    await this.#admin?.close();
    this.#admin = undefined;
  }

  #opened<Part>(part: Part | undefined): Part {
    if (part === undefined) throw new Error("the server is not running");
    return part;
  }
}

function tlsOf(settings: { tls_cert: string; tls_key: string }): TlsFiles | undefined {
  const { tls_cert: certFile, tls_key: keyFile } = settings;
  return certFile === "" ? undefined : { certFile, keyFile };
}
