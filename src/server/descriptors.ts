/**
 * How many sockets the limit of open files allows. Node raises the soft limit to the hard one when it
 * starts, so what is read here is what there is; nothing in the process can raise it further.
 */

import { readFileSync } from "node:fs";
import { SOCKETS_TURNED_AWAY_MAX } from "../gateway/index.js";
import { DESCRIPTORS_RESERVED } from "../protocol/generated/limits.js";

/** A server for fewer clients than this is a mistake of whoever set the limit. */
const SOCKETS_MIN = 64;

/** Descriptors that are no client's: the reserve, and those that are only let in to be turned away. */
const OTHERS = DESCRIPTORS_RESERVED + SOCKETS_TURNED_AWAY_MAX;

export type DescriptorVerdict =
  | { readonly ok: true; readonly connectionsMax: number; readonly warning: string | undefined }
  | { readonly ok: false; readonly problem: string };

/** Fits the configured number of sockets into the limit of open files; `Infinity`: there is none. */
export function judgeDescriptors(filesMax: number, connectionsMax: number): DescriptorVerdict {
  const left = filesMax - OTHERS;
  if (left >= connectionsMax) return { ok: true, connectionsMax, warning: undefined };
  const advice = `(ulimit -n, LimitNOFILE=) to ${connectionsMax + OTHERS}`;
  if (left < Math.min(SOCKETS_MIN, connectionsMax)) {
    return {
      ok: false,
      problem:
        `this process may open ${filesMax} files: with ${OTHERS} kept for the log, snapshots and the ` +
        `admin listener too few are left for clients. Raise the limit ${advice}`,
    };
  }
  return {
    ok: true,
    connectionsMax: left,
    warning:
      `this process may open ${filesMax} files, so it takes ${left} connections instead of ` +
      `${connectionsMax} (clients.connections_max). Raise the limit ${advice}, or lower the setting`,
  };
}

/** Files this process may have open. `Infinity` where that can't be told or nothing limits it. */
export function filesMax(read: () => string = readLimits): number {
  let text: string;
  try {
    text = read();
  } catch {
    // Not Linux: what can't be told is not held against the configuration.
    return Number.POSITIVE_INFINITY;
  }
  const soft = /^Max open files\s+(\d+|unlimited)\s/m.exec(text)?.[1];
  return soft === undefined || soft === "unlimited" ? Number.POSITIVE_INFINITY : Number(soft);
}

const readLimits = (): string => readFileSync("/proc/self/limits", "utf8");
