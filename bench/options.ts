/** The command line of the suite. */

import { parseArgs } from "node:util";
import { SYSTEMS, type System } from "./rows.js";
import { WORKLOADS, type Workload } from "./workloads.js";

export interface Options {
  readonly workloads: readonly Workload[];
  readonly systems: ReadonlySet<System>;
  /** Length of a window. */
  readonly seconds: number;
  /** Alternated windows of each system. */
  readonly rounds: number;
  readonly keys: number;
  readonly accounts: number;
  /** Idle connections that are opened to see what one takes. */
  readonly connections: number;
  /** Where the rows go as JSON, besides bench/results/. */
  readonly json: string | undefined;
  /** Directory under which the data of all systems is put; removed afterwards. */
  readonly directory: string | undefined;
  /** Name of the files in bench/results/. */
  readonly name: string | undefined;
  /** Another checkout, built, to compare this one with. */
  readonly against: string | undefined;
  /** Settings of the server, by their names in domp.toml. */
  readonly settings: Readonly<Record<string, string>>;
}

export class UsageError extends Error {
  override readonly name = "UsageError";
}

export const HELP = `npm run bench -- [options]

  --only NAME[,NAME]   these workloads only: ${WORKLOADS.map(({ name }) => name).join(", ")}
  --json FILE          write the rows to FILE too
  --seconds S          length of a window (1)
  --rounds N           alternated windows of each system (5)
  --name NAME          name of the files under bench/results/ (the time)
  --dir DIRECTORY      where the systems keep their data meanwhile (build/bench-data)
  --set NAME=VALUE     a setting of the server, such as log.mode=threaded; can be repeated
  --against DIRECTORY  another checkout, built with its load generator: both builds side by side,
                       in 15 alternated pairs of windows of each workload unless --rounds says otherwise;
                       prints a report and writes none
  --systems A[,B]      these systems only: ${SYSTEMS.join(", ")}

For trying the suite out; figures got with these are not comparable:
  --keys N (1,000,000)   --accounts N (100,000)   --connections N (10,000)
`;

/** Reads the command line; `undefined` asks for help. Throws `UsageError`. */
export function readOptions(words: readonly string[]): Options | undefined {
  const { values } = parse(words);
  if (values.help === true) return undefined;
  return {
    workloads: chosenWorkloads(values.only),
    systems: new Set(values.systems === undefined ? SYSTEMS : chosenSystems(values.systems)),
    seconds: number("seconds", values.seconds ?? "1", 0.01, 600),
    // Fewer tell nothing about the few percent between two builds.
    rounds: whole("rounds", values.rounds ?? (values.against === undefined ? "5" : "15"), 1, 1_000),
    keys: whole("keys", values.keys ?? "1000000", 1_000, 50_000_000),
    accounts: whole("accounts", values.accounts ?? "100000", 100, 50_000_000),
    connections: whole("connections", values.connections ?? "10000", 10, 50_000),
    json: values.json,
    directory: values.dir,
    name: values.name === undefined ? undefined : fileName(values.name),
    against: values.against,
    settings: readSettings(values.set ?? []),
  };
}

function parse(words: readonly string[]) {
  const text = { type: "string" } as const;
  try {
    return parseArgs({
      args: [...words],
      options: {
        help: { type: "boolean", short: "h" },
        only: text,
        json: text,
        seconds: text,
        rounds: text,
        keys: text,
        accounts: text,
        connections: text,
        dir: text,
        name: text,
        systems: text,
        against: text,
        set: { type: "string", multiple: true },
      },
    });
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

function chosenWorkloads(only: string | undefined): readonly Workload[] {
  if (only === undefined) return WORKLOADS;
  const names = only.split(",").map((name) => name.trim());
  for (const name of names) {
    if (!WORKLOADS.some((workload) => workload.name === name)) {
      const known = WORKLOADS.map((workload) => workload.name).join(", ");
      throw new UsageError(`no workload is called "${name}"; known: ${known}`);
    }
  }
  return WORKLOADS.filter(({ name }) => names.includes(name));
}

function chosenSystems(list: string): readonly System[] {
  return list.split(",").map((name) => {
    const system = SYSTEMS.find((known) => known === name.trim());
    if (system === undefined) {
      throw new UsageError(`no system is called "${name}"; known: ${SYSTEMS.join(", ")}`);
    }
    return system;
  });
}

function number(name: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (text.trim() === "" || !(value >= min && value <= max)) {
    throw new UsageError(`--${name} must be a number from ${min} to ${max}, not "${text}"`);
  }
  return value;
}

function whole(name: string, text: string, min: number, max: number): number {
  const value = number(name, text, min, max);
  if (!Number.isInteger(value)) throw new UsageError(`--${name} must be a whole number`);
  return value;
}

function fileName(name: string): string {
  if (/^[\w.-]+$/.test(name)) return name;
  throw new UsageError("--name may hold letters, digits, dots, dashes and underscores");
}

function readSettings(list: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    list.map((setting) => {
      const match = /^([a-z_]+\.[a-z_]+)=(.*)$/.exec(setting);
      if (match?.[1] === undefined || match[2] === undefined) {
        throw new UsageError(`--set ${setting}: write it like log.mode=threaded`);
      }
      return [match[1], match[2]];
    }),
  );
}
