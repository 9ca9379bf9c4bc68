/** Names what was saturated while a system was under load. */

import type { ThreadShare, Window } from "./load.js";
import { rounded, type System } from "./rows.js";
import { median } from "./statistics.js";

/** A thread, a disk or all cores busy for this share of a window are the limit. */
const SATURATED = 0.95;
/** Threads below this share of a core are not worth a word. */
const SHOWN = 0.05;

/** Names of domp's threads, as the kernel has them, for people. */
const THREADS: ReadonlyMap<string, string> = new Map([
  ["domp-worker", "engine thread"],
  ["domp-log", "log thread"],
  ["domp-background", "background thread"],
]);

/** What people call the thread that was busiest. */
function threadName(system: System, thread: ThreadShare): string {
  if (system === "redis" && thread.main) return "redis main thread";
  if (system === "postgres") return "a postgres process";
  if (thread.main) return "event loop";
  return THREADS.get(thread.name) ?? thread.name;
}

/**
 * The first of these that was saturated in the median window: the generator itself, one thread of
 * the server, all cores, the thread that writes the log and its disk together, the disk. Where
 * none was, what is left is the time a round trip takes.
 */
export function bottleneckOf(system: System, windows: readonly Window[]): string {
  if (windows.length === 0) return "unknown";
  const middle = (read: (window: Window) => number) => median(windows.map(read));
  if (middle((window) => window.generator_share) >= SATURATED) {
    return system === "disk" ? "processor" : "generator";
  }
  if (system === "disk") return "disk";

  const busiest = busiestThread(windows);
  if (busiest !== undefined && busiest.share >= SATURATED) {
    return threadName(system, busiest.thread);
  }
  if (middle((window) => window.cores_share ?? 0) >= SATURATED) return "all cores";

  const disk = middle((window) => window.disk_share ?? 0);
  const writer = writerShare(system, windows);
  if (writer !== undefined && writer.share + disk >= SATURATED && disk > 0.05) {
    return `${writer.name} and disk`;
  }
  return disk >= SATURATED ? "disk" : "latency";
}

/** Shares of a core of the busiest threads, under names such as `share_engine_thread`. */
export function threadShares(
  system: System,
  windows: readonly Window[],
): Readonly<Record<string, number>> {
  const shares: Record<string, number> = {};
  for (const thread of threadsOf(windows).values()) {
    const share = shareOf(windows, key(thread), "share_max");
    const name = `share_${threadName(system, thread).replaceAll(/\W+/g, "_")}`;
    if (share >= SHOWN && share > (shares[name] ?? 0)) shares[name] = rounded(share, 3);
  }
  return shares;
}

function threadsOf(windows: readonly Window[]): ReadonlyMap<string, ThreadShare> {
  const all = windows.flatMap(({ threads }) => threads);
  return new Map(all.map((thread) => [key(thread), thread]));
}

function busiestThread(
  windows: readonly Window[],
): { readonly thread: ThreadShare; readonly share: number } | undefined {
  let busiest: { thread: ThreadShare; share: number } | undefined;
  for (const thread of threadsOf(windows).values()) {
    const share = shareOf(windows, key(thread), "share_max");
    if (busiest === undefined || share > busiest.share) busiest = { thread, share };
  }
  return busiest;
}

/** The thread that waits for the disk: while it does, it can do nothing else. */
function writerShare(
  system: System,
  windows: readonly Window[],
): { readonly name: string; readonly share: number } | undefined {
  if (system === "redis") {
    return { name: "redis main thread", share: shareOf(windows, "redis-server main", "share_max") };
  }
  if (system !== "domp") return undefined;
  const log = shareOf(windows, "domp-log", "share_max");
  if (log > 0.02) return { name: "log thread", share: log };
  return { name: "engine thread", share: shareOf(windows, "domp-worker", "share_max") };
}

function key(thread: ThreadShare): string {
  return thread.main ? `${thread.name} main` : thread.name;
}

function shareOf(windows: readonly Window[], name: string, which: "share" | "share_max"): number {
  return median(
    windows.map(({ threads }) => threads.find((thread) => key(thread) === name)?.[which] ?? 0),
  );
}
