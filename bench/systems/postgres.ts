/** PostgreSQL with synchronous commits, in a cluster of its own. */

import { chownSync } from "node:fs";
import path from "node:path";
import type { Command } from "../children.js";
import { findProgram, findUser, postgresDirectories } from "../machine.js";
import { freePort, HOST, listens, untilUp } from "../network.js";
import { dataDirectory, type World } from "../world.js";
import { type Server, Unavailable } from "./server.js";

const SUPERUSER = "postgres";

export async function startPostgres(world: World): Promise<Server> {
  const directories = postgresDirectories();
  const postgres = findProgram("postgres", directories);
  const initdb = findProgram("initdb", directories);
  if (postgres === undefined || initdb === undefined) throw new Unavailable("needs postgresql");
  const user = ordinaryUser();
  const directory = dataDirectory(world, "postgres");
  if (user !== undefined) {
    chownSync(directory, user.uid, user.gid);
    await mustReach(world, directory, user);
  }
  const data = path.join(directory, "data");
  const initWords = ["-D", data, "-U", SUPERUSER, "--auth=trust", "--no-locale", "-E", "UTF8"];
  await world.children.run("initdb", { program: initdb, words: initWords, directory, user });
  const port = await freePort();
  const settings = {
    listen_addresses: HOST,
    port: String(port),
    unix_socket_directories: directory,
    max_connections: "200",
    shared_buffers: "512MB",
    max_wal_size: "8GB",
    checkpoint_timeout: "30min",
    // The defaults, said aloud: this is what is compared.
    fsync: "on",
    synchronous_commit: "on",
    full_page_writes: "on",
  };
  const settingWords = Object.entries(settings).flatMap(([name, value]) => [
    "-c",
    `${name}=${value}`,
  ]);
  const words = ["-D", data, ...settingWords];
  const child = await world.children.start("postgres", {
    program: postgres,
    words,
    directory,
    user,
  });
  await untilUp(child, () => listens(port));
  return {
    system: "postgres",
    address: `${HOST}:${port}`,
    pid: child.pid,
    generatorWords: ["--user", SUPERUSER],
    // At once: its data is thrown away with its directory.
    stop: () => child.stop("SIGQUIT"),
  };
}

/** Whom to run as where the suite runs as root, which PostgreSQL refuses. */
function ordinaryUser(): Command["user"] {
  if (process.getuid?.() !== 0) return undefined;
  const user = findUser("postgres") ?? findUser("nobody");
  if (user === undefined) throw new Unavailable("needs a user who is not root");
  return user;
}

async function mustReach(world: World, directory: string, user: Command["user"]): Promise<void> {
  try {
    await world.children.run("test", {
      program: "/bin/sh",
      words: ["-c", `cd ${quote(directory)}`],
      user,
    });
  } catch {
    throw new Unavailable(
      `needs a data directory its own user can reach (--dir), not ${directory}`,
    );
  }
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
