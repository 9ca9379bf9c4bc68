/**
 * The SDK of DOMP for browsers and every runtime with a global `WebSocket`; the package's entry
 * `domp/client`.
 *
 * @example
 * ```ts
 * interface Player { name: string; gold: number }
 *
 * const db = await connect("ws://127.0.0.1:7400");
 * const players = db.space("default", json<Player>());
 * await players.put("player/ada", { name: "Ada", gold: 100 });
 * console.log((await players.get("player/ada"))?.value.gold);
 * await db.close();
 * ```
 */
import { Client } from "./client.js";
import { DompError } from "./errors.js";
import { type ConnectOptions, resolveOptions } from "./options.js";
import { type WebSocketConstructor, webSocketTransport, webSocketUrls } from "./transport.js";

export * from "./exports.js";

/**
 * Connects to a server; resolves when it has let us in. From then on the client keeps itself
 * connected, whatever happens to network and server, until it is closed.
 *
 * @param url `ws://host:port` or, encrypted, `wss://host:port`; of a cluster several of them: one is used,
 * and another when it is lost, with the same session
 * @throws DompError `unreachable`, `unauthenticated`, `unsupported_version`, `invalid_argument`
 */
export async function connect(
  url: string | URL | readonly (string | URL)[],
  options: ConnectOptions = {},
): Promise<Client> {
  const { WebSocket } = globalThis as { WebSocket?: WebSocketConstructor };
  if (WebSocket === undefined && options.transport === undefined) {
    throw new DompError("invalid_argument", "there is no WebSocket here; give a transport");
  }
  const transport = options.transport ?? webSocketTransport(WebSocket as WebSocketConstructor);
  const client = new Client(webSocketUrls(url), resolveOptions(options, transport));
  await client.open(options.signal);
  return client;
}
