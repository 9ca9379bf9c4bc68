/** Sockets that say what they like, byte by byte. */

import { connect, type Socket } from "node:net";
import type { TestContext } from "node:test";

export interface RawSocket {
  readonly socket: Socket;
  /** What came so far. */
  received(): string;
  /** Resolves once the other side has closed. */
  readonly closed: Promise<void>;
}

/** Opens a socket and says something, if anything. */
export function open(t: Pick<TestContext, "after">, port: number, text = ""): Promise<RawSocket> {
  const socket = connect(port, "127.0.0.1");
  t.after(() => socket.destroy());
  let received = "";
  socket.on("data", (chunk) => {
    received += chunk.toString("latin1");
  });
  socket.on("error", () => undefined);
  const closed = new Promise<void>((resolve) => socket.on("close", () => resolve()));
  return new Promise((resolve) => {
    const opened = { socket, received: () => received, closed };
    socket.on("connect", () => {
      if (text !== "") socket.write(text, "latin1");
      resolve(opened);
    });
    socket.on("close", () => resolve(opened));
  });
}

/** The head of a request for a WebSocket. */
export const UPGRADE =
  "GET /v1 HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
  "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";

/** The beginning of a binary message that says it has so many bytes; the mask is zero. */
export function messageHead(bytes: number): Buffer {
  const head = Buffer.alloc(14);
  head[0] = 0x82;
  head[1] = 0xff;
  head.writeBigUInt64BE(BigInt(bytes), 2);
  return head;
}
