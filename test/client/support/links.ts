// A real WebSocket with a hand on the line: a test sees what passes and takes out what it likes.
import { WebSocket } from "ws";
import {
  type Transport,
  type WebSocketConstructor,
  webSocketTransport,
} from "../../../src/client/transport.js";
import { FrameKind, frameKind } from "../../../src/protocol/frame.js";
import { readWelcome } from "../../../src/protocol/hello.js";

export class Line {
  /** Tokens of the sessions that were welcomed, the newest last. */
  readonly sessions: Uint8Array[] = [];
  /** Was the newest of them resumed? */
  resumed = false;
  connections = 0;
  loseReplies = false;
  loseRequests = false;
  #cut: (() => void) | undefined;
  readonly #inner = webSocketTransport(WebSocket as unknown as WebSocketConstructor);

  readonly transport: Transport = {
    open: (url, events) => {
      this.connections += 1;
      let isOver = false;
      const channel = this.#inner.open(url, {
        onOpen: () => events.onOpen(),
        onFrame: (frame) => {
          if (frameKind(frame) === FrameKind.welcome) {
            const { session, resumed } = readWelcome(frame);
            this.sessions.push(session);
            this.resumed = resumed;
          }
          if (this.loseReplies && frameKind(frame) === FrameKind.replies) return;
          if (!isOver) events.onFrame(frame);
        },
        onClose: (reason) => {
          if (isOver) return;
          isOver = true;
          events.onClose(reason);
        },
      });
      this.#cut = () => channel.close();
      return {
        send: (frame) => {
          if (this.loseRequests && frameKind(frame) === FrameKind.submit) return;
          channel.send(frame);
        },
        close: () => channel.close(),
      };
    },
  };

  /** Breaks the connection. */
  cut(): void {
    this.#cut?.();
  }
}
