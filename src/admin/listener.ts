/**
 * The admin listener: `/livez` (the process runs), `/readyz` (it serves), `/metrics`. It is up
 * before the data is recovered and after the clients are gone, so that whoever watches sees why.
 */

import { readFileSync } from "node:fs";
import { createServer, type RequestListener, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { Authenticator, Doors } from "../policy/index.js";
import { CONTENT_TYPE } from "./exposition.js";

/** Why the server is not ready, or that it is. */
export type Readiness = "starting" | "ready" | "draining" | "failed";

export interface AdminOptions {
  readonly host: string;
  readonly port: number;
  readonly tls: { readonly certFile: string; readonly keyFile: string } | undefined;
  readonly doors: Doors;
  /** Whose token `/metrics` asks for; undefined on loopback, where it asks for none. */
  readonly authenticator: Authenticator | undefined;
  readonly readiness: () => Readiness;
  /** The metrics' text. */
  readonly metrics: () => Promise<string>;
}

export interface AdminListener {
  readonly port: number;
  close(): Promise<void>;
}

/** An admin request is a line and a few headers; whoever takes longer than this is cut. */
const REQUEST_TIMEOUT_MS = 5_000;

/** Open connections: scrapers and probes, not the public. */
const CONNECTIONS_MAX = 64;

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
      const readiness = options.readiness();
      answer(response, readiness === "ready" ? 200 : 503, readiness);
    } else if (path === "/metrics") {
      void answerMetrics(options, request.headers.authorization ?? "", response);
    } else {
      answer(response, 404, "here are /livez, /readyz and /metrics");
    }
  });
  server.requestTimeout = REQUEST_TIMEOUT_MS;
  server.headersTimeout = REQUEST_TIMEOUT_MS;
  server.maxConnections = CONNECTIONS_MAX;
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
  if (tls === undefined) return createServer(handler);
  return createTlsServer(
    { cert: readFileSync(tls.certFile), key: readFileSync(tls.keyFile) },
    handler,
  );
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

async function answerMetrics(
  { authenticator, metrics }: AdminOptions,
  authorization: string,
  response: ServerResponse,
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
    answer(response, 200, await metrics(), CONTENT_TYPE);
  } catch (error) {
    answer(response, 500, `the metrics can't be read: ${(error as Error).message}`);
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
