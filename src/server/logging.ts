/**
 * The server's log: JSON lines for machines, one short line a message for people on a terminal.
 * Written to standard error, so that standard output stays the command's.
 */

import type { Logger } from "pino";
import type { Config } from "../config/index.js";

export type { Logger };

export interface LogTarget {
  write(line: string): unknown;
  readonly isTTY?: boolean;
}

/** Loads the logging package and makes a logger as configured. */
export async function createLogger(
  { level, format }: Config["logging"],
  target: LogTarget = process.stderr,
): Promise<Logger> {
  const { pino } = await import("pino");
  const human = format === "human" || (format === "auto" && target.isTTY === true);
  const stream = human
    ? { write: (line: string) => target.write(formatForPeople(line, target.isTTY === true)) }
    : { write: (line: string) => target.write(line) };
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, stream);
}

const LEVELS: ReadonlyMap<number, { readonly name: string; readonly colour: number }> = new Map([
  [10, { name: "trace", colour: 90 }],
  [20, { name: "debug", colour: 90 }],
  [30, { name: "info", colour: 32 }],
  [40, { name: "WARN", colour: 33 }],
  [50, { name: "ERROR", colour: 31 }],
  [60, { name: "FATAL", colour: 31 }],
]);

/** `12:34:56.789 WARN  what happened  field=value` from a line of JSON. */
export function formatForPeople(line: string, coloured: boolean): string {
  const { level, time, msg, err, ...fields } = JSON.parse(line) as Record<string, unknown>;
  const { name, colour } = LEVELS.get(Number(level)) ?? { name: String(level), colour: 0 };
  const label = name.padEnd(5);
  const parts = [
    String(time).slice(11, 23),
    coloured ? `\u001b[${colour}m${label}\u001b[0m` : label,
    String(msg ?? ""),
  ];
  for (const [key, value] of flatten(fields)) {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    parts.push(` ${key}=${/[\s"]/.test(text) ? JSON.stringify(text) : text}`);
  }
  const stack = (err as { stack?: unknown } | undefined)?.stack;
  return `${parts.join(" ")}\n${typeof stack === "string" ? `${stack}\n` : ""}`;
}

/** Fields of fields under dotted names; without those that say that there is nothing. */
function* flatten(fields: object, prefix = ""): Generator<[name: string, value: unknown]> {
  for (const [key, value] of Object.entries(fields) as [string, unknown][]) {
    if (value === null || (Array.isArray(value) && value.length === 0)) continue;
    const name = prefix + key;
    if (typeof value === "object" && !Array.isArray(value)) yield* flatten(value, `${name}.`);
    else yield [name, value];
  }
}
