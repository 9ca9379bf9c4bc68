/** Names what was busiest while a system was under load, and for how much of the time it was. */

import { cpus } from "node:os";
import type { ThreadShare, Window } from "./load.js";
import { rounded, type System } from "./rows.js";
import { median } from "./statistics.js";

/** What a row says where the load generator, not the system, was the limit. */
export const GENERATOR = "generator";
/** A generator that was busy for this share of a window may have been the limit. */
const GENERATOR_SHARE_MAX = 0.9;
/** Threads below this share of a core are not worth a word. */
const SHOWN = 0.05;
/** The thread that looks for work before it sleeps. */
const POLLING_THREAD = "domp-worker";

/** Names of domp's threads, as the kernel has them, for people. */
const THREADS: ReadonlyMap<string, string> = new Map([
  [POLLING_THREAD, "engine thread"],
  ["domp-log", "log thread"],
  ["domp-background", "background thread"],
]);

/** What people call a thread. */
function threadName(system: System, thread: ThreadShare): string {
  if (system === "redis" && thread.main) return "redis main thread";
  if (system === "postgres") return "a postgres process";
  if (thread.main) return "event loop";
  return THREADS.get(thread.name) ?? thread.name;
}

/** What could be the limit, and the part of the time that it was at work. */
export interface Busy {
  readonly name: string;
  readonly share: number;
}

/**
 * The busiest of these in the median window: a thread of the system, the disk, all cores together.
 * Looking for work is no work: what the engine thread takes of the processor for it does not count.
 * Where a server does not tell how much that was, neither that thread nor all cores are named.
 * The generator's share is not the system's: all cores are those that it leaves. Where the generator
 * itself was busy nearly all the time, it is named, for then it may be the limit.
 */
export function busiestOf(
  system: System,
  windows: readonly Window[],
  cores = cpus().length,
): Busy | undefined {
  if (windows.length === 0) return undefined;
  const middle = (read: (window: Window) => number) => median(windows.map(read));
  const disk = { name: "disk", share: middle((window) => window.disk_share ?? 0) };
  if (system === "disk") return disk;
  const generator = { name: GENERATOR, share: middle((window) => window.generator_share) };
  if (generator.share >= GENERATOR_SHARE_MAX) return generator;

  const polls = windows.every(({ poll_share }) => poll_share !== null);
  const threads = [...threadsOf(windows).values()]
    .filter(({ name }) => polls || name !== POLLING_THREAD)
    .map((thread): Busy => {
      const share = middle((window) => workShare(window, key(thread)));
      return { name: threadName(system, thread), share };
    });
  const all = { name: "all cores", share: middle((window) => coresShare(window, cores)) };
  return [...threads, disk, ...(polls ? [all] : [])].reduce((busiest, next) =>
    next.share > busiest.share ? next : busiest,
  );
}

/** The share of a core that the busiest thread of that name worked for, without looking for work. */
function workShare(window: Window, name: string): number {
  const thread = window.threads.find((candidate) => key(candidate) === name);
  if (thread === undefined) return 0;
  const polled = thread.name === POLLING_THREAD ? (window.poll_share ?? 0) : 0;
  return Math.max(thread.share_max - polled, 0);
}

/**
 * How busy the system's own threads kept the cores that the generator left it. What others took of them
 * (the kernel's threads, whoever else is on the machine) is not counted: it would make of a busy machine
 * a busy system.
 */
function coresShare(window: Window, cores: number): number {
  const left = cores - window.generator_share;
  const used = window.server_share - (window.poll_share ?? 0);
  return left > 0 ? Math.max(used / left, 0) : 0;
}

/**
 * Shares of a core that the busiest threads took of the processor, under names such as
 * `share_engine_thread`; looking for work is in them.
 */
export function threadShares(
  system: System,
  windows: readonly Window[],
): Readonly<Record<string, number>> {
  const shares: Record<string, number> = {};
  for (const thread of threadsOf(windows).values()) {
    const share = median(windows.map((window) => processorShare(window, key(thread))));
    const name = `share_${threadName(system, thread).replaceAll(/\W+/g, "_")}`;
    if (share >= SHOWN && share > (shares[name] ?? 0)) shares[name] = rounded(share, 3);
  }
  return shares;
}

function processorShare({ threads }: Window, name: string): number {
  return threads.find((thread) => key(thread) === name)?.share_max ?? 0;
}

function threadsOf(windows: readonly Window[]): ReadonlyMap<string, ThreadShare> {
  const all = windows.flatMap(({ threads }) => threads);
  return new Map(all.map((thread) => [key(thread), thread]));
}

function key(thread: ThreadShare): string {
  return thread.main ? `${thread.name} main` : thread.name;
}
