import { type OwnBytes, splitIntoParts } from "../protocol/frame.js";
import { type ErrorName, errors } from "../protocol/generated/errors.js";
import { DompError } from "./errors.js";

/** What a transport tells the connection that opened it. Nothing is called after `onClose`. */
export interface TransportEvents {
  onOpen(): void;
  /** One whole frame. The bytes are the receiver's to keep. */
  onFrame(frame: Uint8Array): void;
  /**
   * The end, whoever caused it, a failed opening included. Called exactly once. `code` is the
   * server's reason where it gave one.
   */
  onClose(reason: string, code?: ErrorName): void;
}

/** An open or opening way to a server. */
export interface TransportChannel {
  /** Sends one frame. The bytes may not change afterwards. */
  send(frame: Uint8Array): void;
  /** Ends the channel; `onClose` follows, at the latest when the peer has answered. */
  close(): void;
}

/** A way to carry frames both ways, in order, whole or not at all. */
export interface Transport {
  open(url: string, events: TransportEvents): TransportChannel;
}

/** The part of the standard `WebSocket` class that is used; npm's `ws` has it too. */
export interface WebSocketLike {
  binaryType: string;
  readonly readyState: number;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  send(data: Uint8Array<ArrayBuffer>): void;
  close(code?: number, reason?: string): void;
}

export type WebSocketConstructor = new (url: string) => WebSocketLike;

const CLOSED = 3;

/** Browsers tell pages no more than that it failed. */
const UNEXPLAINED =
  "no server there, its certificate is not trusted, or it does not admit this page's origin";

/** Carries frames as binary WebSocket messages. */
export function webSocketTransport(WebSocket: WebSocketConstructor): Transport {
  return {
    open(url, events) {
      const socket = new WebSocket(url);
      socket.binaryType = "arraybuffer";
      let isOpen = false;
      let over = false;
      let fault = "";
      let refusal: ErrorName | undefined;
      const end = (reason: string): void => {
        if (over) return;
        over = true;
        events.onClose(reason, refusal);
      };
      socket.onmessage = (event: { data: unknown }) => {
        if (over) return;
        if (event.data instanceof ArrayBuffer) {
          events.onFrame(new Uint8Array(event.data));
        } else {
          fault = "the server sent text where frames are binary";
          socket.close();
        }
      };
      socket.onopen = () => {
        isOpen = true;
        if (!over) events.onOpen();
      };
      socket.onerror = (event: { message?: unknown; error?: { code?: unknown } }) => {
        if (typeof event.message !== "string") return;
        const code = `${event.error?.code}`;
        if (Object.hasOwn(errors, code)) refusal ??= code as ErrorName;
        const isOfTls = /CERT|ALTNAME|SSL/.test(code);
        fault ||= `${isOfTls ? "the server's certificate is not trusted: " : ""}${event.message}`;
      };
      socket.onclose = (event: { code?: number; reason?: string }) => {
        const { code = 1006 } = event;
        const unexplained = isOpen ? `the WebSocket closed with code ${code}` : UNEXPLAINED;
        end(event.reason || fault || unexplained);
      };
      return {
        send: (frame) => {
          for (const message of splitIntoParts(frame as OwnBytes)) socket.send(message);
        },
        close: () => {
          if (socket.readyState !== CLOSED) socket.close(1000);
          // A peer that vanished never answers the closing handshake; don't wait for it.
          end(fault || "closed by the client");
        },
      };
    },
  };
}

/** Where servers listen for WebSockets. */
const SOCKET_PATH = "/v1";

/** Servers of one cluster that a client may be told of. */
const ADDRESSES_MAX = 64;

/**
 * One address or several, as WebSockets want them.
 * @throws DompError `invalid_argument`
 */
export function webSocketUrls(urls: string | URL | readonly (string | URL)[]): readonly string[] {
  const given = typeof urls === "string" || urls instanceof URL ? [urls] : urls;
  if (given.length === 0 || given.length > ADDRESSES_MAX) {
    throw new DompError("invalid_argument", `one to ${ADDRESSES_MAX} addresses are needed`);
  }
  return [...new Set(given.map(webSocketUrl))];
}

/**
 * The address as WebSockets want it: `ws:` or `wss:`; `http:` and `https:` stand for them. Without
 * a path it is that of a server; a proxy may have another.
 * @throws DompError `invalid_argument`
 */
export function webSocketUrl(url: string | URL): string {
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    throw new DompError("invalid_argument", `not a URL: ${String(url)}`);
  }
  if (parsed.protocol === "http:") parsed.protocol = "ws:";
  else if (parsed.protocol === "https:") parsed.protocol = "wss:";
  if (parsed.protocol !== "ws:" && parsed.protocol !== "wss:") {
    throw new DompError("invalid_argument", `a URL of ws: or wss: is needed, not ${String(url)}`);
  }
  if (parsed.hash !== "") {
    throw new DompError("invalid_argument", "a WebSocket URL has no fragment (#)");
  }
  if (parsed.pathname === "/") parsed.pathname = SOCKET_PATH;
  return parsed.href;
}
