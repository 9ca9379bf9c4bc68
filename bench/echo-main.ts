/** A process of its own: sends every WebSocket message back. Prints its port; ends on SIGTERM. */

import { App } from "uWebSockets.js";
import { freePort, HOST } from "./network.js";

const port = await freePort();
const app = App();
app.ws("/*", {
  compression: 0,
  maxPayloadLength: 16 * 2 ** 20,
  maxBackpressure: 64 * 2 ** 20,
  idleTimeout: 0,
  message: (socket, message) => {
    socket.send(message, true);
  },
});
app.listen(HOST, port, (socket) => {
  if (socket === false) {
    process.stderr.write(`the echo can't listen on port ${port}\n`);
    process.exitCode = 1;
  } else {
    process.stdout.write(`${port}\n`);
  }
});

let stopped = false;
function stop(): void {
  if (stopped) return;
  stopped = true;
  app.close();
  process.stdin.destroy();
}
process.once("SIGTERM", stop);
process.once("SIGINT", stop);
// The end of its input: whoever started it has gone.
process.stdin.once("end", stop).resume();
