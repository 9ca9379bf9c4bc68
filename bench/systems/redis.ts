/** Redis with every write on disk before its answer. */

import { findProgram } from "../machine.js";
import { freePort, HOST, listens, untilUp } from "../network.js";
import { dataDirectory, type World } from "../world.js";
import { type Server, Unavailable } from "./server.js";

export async function startRedis(world: World): Promise<Server> {
  const program = findProgram("redis-server");
  if (program === undefined) throw new Unavailable("needs redis-server");
  const directory = dataDirectory(world, "redis");
  const port = await freePort();
  const settings = {
    bind: HOST,
    port: String(port),
    dir: directory,
    daemonize: "no",
    logfile: "",
    appendonly: "yes",
    appendfsync: "always",
    save: "",
    // A rewrite in the middle of a window would take half the machine: Redis is shown at its best.
    "auto-aof-rewrite-percentage": "0",
    maxclients: "20000",
  };
  const words = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
  const child = await world.children.start("redis-server", { program, words, directory });
  await untilUp(child, () => listens(port));
  return {
    system: "redis",
    address: `${HOST}:${port}`,
    pid: child.pid,
    generatorWords: [],
    // What it would still write is thrown away with its directory.
    stop: () => child.stop("SIGTERM"),
  };
}
