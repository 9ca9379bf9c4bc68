/** Ports on loopback, and waiting until somebody listens. */

import { connect, createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { Child } from "./children.js";

export const HOST = "127.0.0.1";

/** How long a server may take to listen. */
const PATIENCE_MS = 60_000;
const PAUSE_MS = 20;

/** A port that nobody uses; it is not kept, so it should be used at once. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, HOST, resolve);
  });
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("no port is free");
  return address.port;
}

/** Waits until `isUp` says so; throws if the server ends before that, or takes too long. */
export async function untilUp(child: Child, isUp: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  while (!(await isUp())) {
    if (child.isOver()) {
      throw new Error(`${child.name}: ${child.complaint() || (await child.ended)}`);
    }
    if (performance.now() > deadline) throw new Error(`${child.name} does not come up`);
    await sleep(PAUSE_MS);
  }
}

/** Whether somebody accepts connections at a port. */
export function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: HOST, port });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
