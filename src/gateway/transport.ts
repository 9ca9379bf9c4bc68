/**
 * The only file that knows the package uWebSockets.js. It is imported when it is needed and not
 * before: loading its binary on a Node it was not built for ends in an error nobody understands.
 *
 * The types describe the small part of it that the gateway uses, so that tests can stand in.
 */

import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** A WebSocket; valid from open until close was called, not a moment longer. */
export interface Peer<UserData> {
  /** 1: written, 0: some of it waits in memory, 2: dropped because too much waits already. */
  send(message: Uint8Array, isBinary: boolean, compress: boolean): number;
  getBufferedAmount(): number;
  cork(run: () => void): unknown;
  /**
   * Says goodbye and calls `close` at once. What still waits in memory goes on waiting, seen by
   * nobody, until the client reads it or some seconds have passed.
   */
  end(code: number, reason: string): void;
  /** Calls `close` at once; what waits in memory is dropped. */
  close(): void;
  getRemoteAddressAsText(): ArrayBuffer;
  getUserData(): UserData;
}

/** A request's head; valid only inside the handler. */
export interface RequestHead {
  /** `""` if absent; names are in lower case. */
  getHeader(name: string): string;
  /** Path with its percent signs, without the query. */
  getUrl(): string;
  /** In lower case. */
  getMethod(): string;
  /** Every header as it came, also one that stands twice; names are in lower case. */
  forEach(visit: (name: string, value: string) => void): void;
}

/** A response; valid until it was ended or aborted. */
export interface Response {
  writeStatus(status: string): Response;
  writeHeader(name: string, value: string): Response;
  end(body: string | Uint8Array, closeConnection?: boolean): Response;
  endWithoutBody(contentLength?: number, closeConnection?: boolean): Response;
  /**
   * Writes what the socket takes of a body of `totalBytes` and keeps nothing of the rest. The second
   * flag: all of it is written, and the response over.
   */
  tryEnd(rest: Uint8Array, totalBytes: number): [ok: boolean, done: boolean];
  /** Bytes of the body that are written. */
  getWriteOffset(): number;
  /** The socket takes more. The handler says whether all it gave was taken. */
  onWritable(handler: (offset: number) => boolean): Response;
  /** Ends the connection, whatever is on its way; `onAborted` hears of it. */
  close(): Response;
  /** Empty once the socket is closed. */
  getRemoteAddressAsText(): ArrayBuffer;
  onAborted(handler: () => void): Response;
  onData(handler: (chunk: ArrayBuffer, isLast: boolean) => void): Response;
  cork(run: () => void): Response;
  upgrade<UserData>(
    userData: UserData,
    key: string,
    protocol: string,
    extensions: string,
    context: unknown,
  ): void;
}

export interface SocketBehavior<UserData> {
  readonly maxPayloadLength: number;
  readonly idleTimeout: number;
  readonly maxBackpressure: number;
  readonly compression: number;
  readonly sendPingsAutomatically: boolean;
  readonly upgrade: (response: Response, head: RequestHead, context: unknown) => void;
  readonly open: (peer: Peer<UserData>) => void;
  /** `message` is emptied when the handler returns. */
  readonly message: (peer: Peer<UserData>, message: ArrayBuffer, isBinary: boolean) => void;
  readonly drain: (peer: Peer<UserData>) => void;
  readonly close: (peer: Peer<UserData>, code: number, reason: ArrayBuffer) => void;
}

export interface App {
  ws<UserData>(pattern: string, behavior: SocketBehavior<UserData>): App;
  any(pattern: string, handler: (response: Response, head: RequestHead) => void): App;
  /**
   * Told of every socket: 1 when it is accepted, before it has said anything, and -1 when it is
   * closed. One that became a WebSocket is not told of again: its `close` is. The handler may close
   * the socket, which tells -1 at once.
   */
  filter(handler: (response: Response, change: number) => void): App;
  listen(host: string, port: number, options: number, done: (socket: unknown) => void): App;
  /** Closes every socket. The process must not exit before it was called. */
  close(): App;
}

interface Uws {
  App(): App;
  SSLApp(options: { key_file_name: string; cert_file_name: string }): App;
  us_listen_socket_close(socket: unknown): void;
  us_socket_local_port(socket: unknown): number;
  readonly LIBUS_LISTEN_EXCLUSIVE_PORT: number;
  readonly DISABLED: number;
}

export interface TlsFiles {
  readonly certFile: string;
  readonly keyFile: string;
}

export interface ListenSocket {
  readonly port: number;
  /** Accepts no more connections; those that are open stay. */
  close(): void;
}

export interface Transport {
  /** No compression: replies are small and binary, and a deflate window costs every connection. */
  readonly noCompression: number;
  createApp(tls: TlsFiles | undefined): App;
  listen(app: App, host: string, port: number): ListenSocket;
}

/** The Node versions that the pinned package brings binaries for and the project is tested on. */
const NODE_MAJORS: readonly number[] = [20, 22];

/**
 * Why uWebSockets.js can't be loaded on this Node, or undefined if it can. A package of another
 * name than the pinned one was put there on purpose and judges for itself.
 */
export function transportProblem(nodeVersion: string, packageName: string): string | undefined {
  const major = Number.parseInt(nodeVersion.replace(/^v/, ""), 10);
  if (packageName !== "uws-pack" || NODE_MAJORS.includes(major)) return undefined;
  return [
    `DOMP's WebSocket server has binaries for Node ${NODE_MAJORS.join(" and ")}; this is Node ${nodeVersion}.`,
    `Run it with one of those, or put the official package of uWebSockets.js for your Node in its place:`,
    `  npm install "uWebSockets.js@github:uNetworking/uWebSockets.js#<release for Node ${major}>"`,
    `(releases: https://github.com/uNetworking/uWebSockets.js/releases)`,
  ].join("\n");
}

/** Loads uWebSockets.js. Throws an error with a way out where it can't run. */
export async function loadTransport(nodeVersion: string = process.version): Promise<Transport> {
  const problem = transportProblem(nodeVersion, installedPackageName());
  if (problem !== undefined) throw new Error(problem);
  const module: object = await import("uWebSockets.js");
  // The official package is CommonJS: all it exports stands under `default`.
  const uws = ("App" in module ? module : (module as { default: unknown }).default) as Uws;

  return {
    noCompression: uws.DISABLED,
    createApp(tls) {
      if (tls === undefined) return uws.App();
      try {
        return uws.SSLApp({ key_file_name: tls.keyFile, cert_file_name: tls.certFile });
      } catch {
        throw new Error(
          `TLS can't be set up with ${tls.certFile} and ${tls.keyFile}: ` +
            `they must be readable PEM files of one certificate and its key`,
        );
      }
    },
    listen(app, host, port) {
      let socket: unknown;
      // Exclusive: otherwise a second server could take the same port and half of the clients.
      app.listen(host, port, uws.LIBUS_LISTEN_EXCLUSIVE_PORT, (opened) => {
        socket = opened;
      });
      if (!socket) {
        throw new Error(
          `can't listen on ${host} port ${port}: it is in use, or not allowed, or no address of this machine`,
        );
      }
      const boundPort = uws.us_socket_local_port(socket);
      return {
        port: boundPort,
        close() {
          uws.us_listen_socket_close(socket);
        },
      };
    },
  };
}

/** The address of a peer as text; empty where it is closed already. */
export function addressOf(socket: { getRemoteAddressAsText(): ArrayBuffer }): string {
  return Buffer.from(socket.getRemoteAddressAsText()).toString("latin1");
}

/** The name in the manifest of what is installed as uWebSockets.js; empty if it can't be told. */
function installedPackageName(): string {
  let directory: string;
  try {
    directory = dirname(fileURLToPath(import.meta.resolve("uWebSockets.js")));
  } catch {
    return "";
  }
  for (;;) {
    try {
      const manifest: unknown = JSON.parse(readFileSync(join(directory, "package.json"), "utf8"));
      const name = (manifest as { name?: unknown }).name;
      if (typeof name === "string") return name;
    } catch {
      // No manifest here: the package's root lies further up.
    }
    const parent = dirname(directory);
    if (parent === directory) return "";
    directory = parent;
  }
}
