/**
 * The admin listener: `/livez` (the process runs), `/readyz` (it serves), `/metrics`, `/cluster`. It is up
 * before the data is recovered and after the clients are gone, so that whoever watches sees why.
 */

import { readFileSync } from "node:fs";
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import type { Authenticator, Doors } from "../policy/index.js";
import { ADMIN_CONNECTIONS_MAX } from "../protocol/generated/limits.js";
import { CONTENT_TYPE } from "./exposition.js";

/** Whether the server serves, and a line that says why not, or what it does without. */
export interface Readiness {
  readonly ready: boolean;
  readonly text: string;
}

export interface AdminOptions {
  readonly host: string;
  readonly port: number;
  readonly tls: { readonly certFile: string; readonly keyFile: string } | undefined;
  readonly doors: Doors;
  /** Whose token `/metrics` and `/cluster` ask for; undefined on loopback, where they ask for none. */
  readonly authenticator: Authenticator | undefined;
  readonly readiness: () => Promise<Readiness>;
  /** The metrics' text. */
  readonly metrics: () => Promise<string>;
  /** The cluster as this node sees it, as JSON. */
  readonly cluster: () => Promise<string>;
}

export interface AdminListener {
  readonly port: number;
  close(): Promise<void>;
}

/** An admin request is a line and a few headers; whoever takes longer than this is cut. */
const REQUEST_TIMEOUT_MS = 5_000;

/** How often Node looks for requests that take too long. */
const TIMEOUT_CHECK_MS = 1_000;

export async function listenAdmin(options: AdminOptions): Promise<AdminListener> {
  const server = createHttpServer(options, (request, response) => {
    response.setHeader("Cache-Control", "no-store");
    const path = (request.url ?? "").split("?")[0] ?? "";
    if (!options.doors.admitsHost(request.headers.host ?? "")) {
      answer(response, 403, "this name is not one of the admin listener's");
    } else if (request.method !== "GET" && request.method !== "HEAD") {
      response.setHeader("Allow", "GET, HEAD");
      answer(response, 405, "only GET");
    } else if (path === "/livez") {
      answer(response, 200, "ok");
    } else if (path === "/readyz") {
      void answerReadiness(options, response);
    } else if (path === "/metrics") {
      void answerGuarded(options, request, response, options.metrics, CONTENT_TYPE);
    } else if (path === "/cluster") {
      void answerGuarded(options, request, response, options.cluster, "application/json");
    } else {
      answer(response, 404, "here are /livez, /readyz, /metrics and /cluster");
    }
  });
  keepRoom(server);
  await listen(server, options);
  return {
    // Listening on a host and port always has an address of this form.
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function createHttpServer({ tls }: AdminOptions, handler: RequestListener): Server {
  const timeouts = {
    requestTimeout: REQUEST_TIMEOUT_MS,
    headersTimeout: REQUEST_TIMEOUT_MS,
    connectionsCheckingInterval: TIMEOUT_CHECK_MS,
  };
  if (tls === undefined) return createServer(timeouts, handler);
  return createTlsServer(
    { ...timeouts, cert: readFileSync(tls.certFile), key: readFileSync(tls.keyFile) },
    handler,
  );
}

/**
 * Ends the socket that is idle longest where one too many comes. Turning the new one away instead
 * would let whoever holds sockets open silence `/livez`, and with it have the process restarted.
 */
function keepRoom(server: Server): void {
  /** The longest idle first. */
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    if (sockets.size <= ADMIN_CONNECTIONS_MAX) return;
    const [idlest] = sockets;
    idlest?.destroy();
  });
  server.on("request", ({ socket }) => {
    // With TLS the socket of a request is another than the one that was accepted.
    if (sockets.delete(socket)) sockets.add(socket);
  });
}

function listen(server: Server, { host, port }: AdminOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const reason = error.code === "EADDRINUSE" ? "it is in use" : error.message;
      reject(new Error(`can't listen on ${host} port ${port} for the admin listener: ${reason}`));
    });
    server.listen({ host, port, exclusive: true }, resolve);
  });
}

async function answerReadiness(
  { readiness }: AdminOptions,
  response: ServerResponse,
): Promise<void> {
  try {
    const { ready, text } = await readiness();
    answer(response, ready ? 200 : 503, text);
  } catch (error) {
    answer(response, 503, `it can't be told: ${(error as Error).message}`);
  }
}

/** Answers what not everybody may read. */
async function answerGuarded(
  { authenticator }: AdminOptions,
  { headers: { authorization = "" } }: IncomingMessage,
  response: ServerResponse,
  read: () => Promise<string>,
  contentType: string,
): Promise<void> {
  if (
    authenticator !== undefined &&
    authenticator.authenticateHeader(authorization) === undefined
  ) {
    response.setHeader("WWW-Authenticate", "Bearer");
    answer(response, 401, "a token is needed");
    return;
  }
  try {
    answer(response, 200, await read(), contentType);
  } catch (error) {
    answer(response, 500, `it can't be told: ${(error as Error).message}`);
  }
}

function answer(
  response: ServerResponse,
  status: number,
  text: string,
  contentType = "text/plain; charset=utf-8",
): void {
  if (response.destroyed) return;
  response.writeHead(status, { "Content-Type": contentType });
  response.end(text.endsWith("\n") ? text : `${text}\n`);
}
