/** The machine: what it is, what is installed, whether its disk is one. */

import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync, readdirSync, readFileSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { arch, cpus, release, totalmem, type } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { rounded, type Value } from "./rows.js";

/** File systems in memory, by the number that statfs tells: a flush there does nothing. */
const MEMORY_FILE_SYSTEMS: ReadonlyMap<number, string> = new Map([
  [0x01021994, "tmpfs"],
  [0x858458f6, "ramfs"],
]);

/** Names of common file systems by that number. */
const FILE_SYSTEMS: ReadonlyMap<number, string> = new Map([
  [0xef53, "ext4"],
  [0x58465342, "xfs"],
  [0x9123683e, "btrfs"],
  [0x794c7630, "overlayfs"],
  [0x2fc12fc1, "zfs"],
  ...MEMORY_FILE_SYSTEMS,
]);

/** The file system that a directory is on. */
export async function fileSystem(
  directory: string,
): Promise<{ readonly name: string; readonly inMemory: boolean }> {
  const number = Number((await statfs(directory)).type) >>> 0;
  return {
    name: FILE_SYSTEMS.get(number) ?? `0x${number.toString(16)}`,
    inMemory: MEMORY_FILE_SYSTEMS.has(number),
  };
}

/** Finds a program among the directories of PATH and `more`. */
export function findProgram(name: string, more: readonly string[] = []): string | undefined {
  const directories = [...(process.env["PATH"] ?? "").split(path.delimiter), ...more];
  return directories
    .filter((directory) => directory !== "")
    .map((directory) => path.join(directory, name))
    .find(isExecutable);
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** PostgreSQL's own directories on Debian and its like, the newest first. */
export function postgresDirectories(): readonly string[] {
  const base = "/usr/lib/postgresql";
  if (!existsSync(base)) return [];
  return readdirSync(base)
    .sort((a, b) => Number(b) - Number(a))
    .map((version) => path.join(base, version, "bin"));
}

/** A user by name, as /etc/passwd has it. */
export function findUser(name: string): { readonly uid: number; readonly gid: number } | undefined {
  const lines = readFileSync("/etc/passwd", "utf8").split("\n");
  const [, , uid, gid] = lines.find((line) => line.startsWith(`${name}:`))?.split(":") ?? [];
  return uid === undefined || gid === undefined
    ? undefined
    : { uid: Number(uid), gid: Number(gid) };
}

/** What a program says of its version; null where it says nothing. */
function version(program: string | undefined): string | null {
  if (program === undefined) return null;
  const { stdout } = spawnSync(program, ["--version"], { encoding: "utf8" });
  return /\d+(?:\.\d+)+/.exec(stdout ?? "")?.[0] ?? null;
}

/** The part of all cores' time that others used, looked at for a moment. */
export async function busyShare(lookMs = 500): Promise<number> {
  const before = cpuTimes();
  await sleep(lookMs);
  const after = cpuTimes();
  const all = after.all - before.all;
  return all > 0 ? (after.busy - before.busy) / all : 0;
}

function cpuTimes(): { readonly busy: number; readonly all: number } {
  let busy = 0;
  let all = 0;
  for (const { times } of cpus()) {
    const sum = times.user + times.nice + times.sys + times.irq + times.idle;
    all += sum;
    busy += sum - times.idle;
  }
  return { busy, all };
}

/** Describes the machine, for the report. */
export async function describeMachine(directory: string): Promise<Readonly<Record<string, Value>>> {
  return {
    busy_share: rounded(await busyShare(), 2),
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cores: cpus().length,
    memory_gib: Math.round(totalmem() / 2 ** 30),
    system: `${type()} ${release()} ${arch()}`,
    file_system: (await fileSystem(directory)).name,
    node: process.versions.node,
    redis: version(findProgram("redis-server")),
    postgres: version(findProgram("postgres", postgresDirectories())),
    measured_at: new Date().toISOString(),
  };
}

/** Memory of a process in RAM, in bytes. */
export function residentBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1];
  if (kib === undefined) throw new Error(`process ${pid} has no memory`);
  return Number(kib) * 1_024;
}
