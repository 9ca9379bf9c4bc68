/**
 * The SDK of DOMP for Node: the same as in browsers, over the npm package `ws`.
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
 * @param url `ws://host:port` or, encrypted, `wss://host:port`; of a cluster several of them: one is used,
 * and another when it is lost, with the same session
 * @throws DompError `unreachable`, `unauthenticated`, `unsupported_version`, `invalid_argument`
 */
export async function connect(
  url: string | URL | readonly (string | URL)[],
  options: ConnectOptions = {},
): Promise<Client> {
  const transport = options.transport ?? (await nodeTransport());
  return await connectAnywhere(url, { ...options, transport });
}

/** Bytes of an answer to the handshake that are looked at. */
const ANSWER_BYTES_MAX = 4096;

/** Carries frames with `ws`, which tells why a handshake failed; the global `WebSocket` does not. */
async function nodeTransport(): Promise<Transport> {
  const { WebSocket } = await import("ws");
  class Explaining extends WebSocket {
    constructor(url: string) {
      super(url);
      this.once("unexpected-response", (_request, response) => {
        let body = "";
        const end = (): void => {
          const { statusCode = 0 } = response;
          // Before the word of `ws` that the handshake was given up, which is by us.
          this.onerror?.(refusal(statusCode, body) as never);
          this.terminate();
        };
        response.setEncoding("utf8").on("error", end).once("end", end);
        response.on("data", (text: string) => {
          body += text;
          if (body.length > ANSWER_BYTES_MAX) response.destroy(new Error("too long"));
        });
      });
    }
  }
  // `ws` is used through the part of the standard interface that it implements.
  return webSocketTransport(Explaining as unknown as WebSocketConstructor);
}

/** What the answer of a server says, as an event of a WebSocket; of another than ours, its status. */
function refusal(status: number, body: string): { message: string; error: { code?: string } } {
  try {
    const { error } = JSON.parse(body) as { error: { code: string; message: string } };
    return { message: `${error.code}: ${error.message}`, error: { code: `${error.code}` } };
  } catch {
    return { message: `the server answered with status ${status}`, error: {} };
  }
}
