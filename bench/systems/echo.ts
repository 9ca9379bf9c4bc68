/** The WebSocket echo: the transport without a server behind it. */

import path from "node:path";
import { createInterface } from "node:readline";
import { HOST } from "../network.js";
import { ROOT, type World } from "../world.js";
import type { Server } from "./server.js";

const MAIN = path.join(ROOT, "build/bench/echo-main.js");

export async function startEcho(world: World): Promise<Server> {
  const child = await world.children.start("the WebSocket echo", {
    program: process.execPath,
    words: [MAIN],
    talks: true,
  });
  const { stdout } = child.process;
  if (stdout === null) throw new Error("the WebSocket echo has no output");
  const lines = createInterface({ input: stdout })[Symbol.asyncIterator]();
  const { value, done } = await lines.next();
  if (done === true)
    throw new Error(child.complaint() || `the WebSocket echo: ${await child.ended}`);
  return {
    system: "uws",
    address: `${HOST}:${value}`,
    pid: child.pid,
    generatorWords: [],
    stop: () => child.stop(),
  };
}
