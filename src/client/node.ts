/**
 * The SDK of DOMP for Node: the same as in browsers, with the npm package `ws` where Node has no
 * global `WebSocket` (before version 22).
 */
import type { Client } from "./client.js";
import { connect as connectAnywhere } from "./index.js";
import type { ConnectOptions } from "./options.js";
import { type Transport, type WebSocketConstructor, webSocketTransport } from "./transport.js";

export * from "./exports.js";

/**
 * Connects to a server; resolves when it has let us in. From then on the client keeps itself
 * connected, whatever happens to network and server, until it is closed.
 *
 * @param url `ws://host:port` or, encrypted, `wss://host:port`
 * @throws DompError `unreachable`, `unauthenticated`, `unsupported_version`, `invalid_argument`
 */
export async function connect(url: string | URL, options: ConnectOptions = {}): Promise<Client> {
  const transport = options.transport ?? (await nodeTransport());
  return connectAnywhere(url, transport === undefined ? options : { ...options, transport });
}

/** Carries frames with `ws` where there is no global `WebSocket`. */
async function nodeTransport(): Promise<Transport | undefined> {
  if ("WebSocket" in globalThis) return undefined;
  const { WebSocket } = await import("ws");
  // `ws` is used through the part of the standard interface that it implements.
  return webSocketTransport(WebSocket as unknown as WebSocketConstructor);
}
