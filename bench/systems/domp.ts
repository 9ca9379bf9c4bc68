/** DOMP, as `domp start` runs it. */

import { existsSync } from "node:fs";
import path from "node:path";
import type { Child } from "../children.js";
import { freePort, HOST, untilUp } from "../network.js";
import { dataDirectory, ROOT, type World } from "../world.js";
import type { Server } from "./server.js";

const MAIN = path.join(ROOT, "build/bin/main.js");

/** What `domp start` is told. */
export interface DompPlan {
  readonly program: string;
  readonly words: readonly string[];
  readonly environment: NodeJS.ProcessEnv;
  readonly directory: string;
  readonly data: string;
  readonly clientPort: number;
  readonly adminPort: number;
}

export interface DompServer extends Server {
  readonly data: string;
  /** Ends it at once, as a crash does. */
  kill(): Promise<void>;
  /** One figure of `/metrics`, summed over its labels; throws where there is none. */
  metric(name: string): Promise<number>;
  /** All of `/metrics`, as Prometheus' text. */
  metrics(): Promise<string>;
}

const POLLED = "domp_engine_poll_cpu_seconds_total";

/** Chooses ports and a data directory; settings come through the environment. */
export async function planDomp(
  world: World,
  settings: Readonly<Record<string, string>> = {},
  data?: string,
  main = MAIN,
): Promise<DompPlan> {
  if (!existsSync(main)) throw new Error(`domp is not built: there is no ${main}`);
  const directory = dataDirectory(world, "domp");
  const dataPath = data ?? path.join(directory, "data");
  const [clientPort, adminPort] = [await freePort(), await freePort()];
  const all = {
    "data.directory": dataPath,
    "clients.port": String(clientPort),
    "admin.port": String(adminPort),
    "logging.level": "warn",
    "logging.format": "json",
    ...settings,
    ...world.options.settings,
  };
  const variables = Object.entries(all).map(([name, value]) => [
    `DOMP_${name.replace(".", "_").toUpperCase()}`,
    value,
  ]);
  return {
    program: process.execPath,
    words: [main, "start"],
    environment: { ...withoutSettings(process.env), ...Object.fromEntries(variables) },
    directory,
    data: dataPath,
    clientPort,
    adminPort,
  };
}

/** The caller's environment without settings of a server of his own. */
function withoutSettings(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(environment).filter(
      ([name]) => !name.startsWith("DOMP_") || name === "DOMP_NATIVE_PATH",
    ),
  );
}

/** Starts a server and waits until it is ready. `main`: the command line of another build. */
export async function startDomp(
  world: World,
  settings?: Readonly<Record<string, string>>,
  data?: string,
  main?: string,
): Promise<DompServer> {
  const plan = await planDomp(world, settings, data, main);
  const child = await world.children.start("domp", plan);
  await untilUp(child, () => isReady(plan.adminPort));
  return dompServer(child, plan);
}

function dompServer(child: Child, plan: DompPlan): DompServer {
  return {
    system: "domp",
    address: `${HOST}:${plan.clientPort}`,
    pid: child.pid,
    generatorWords: [],
    data: plan.data,
    stop: () => child.stop(),
    kill: () => child.stop("SIGKILL"),
    polledSeconds: async () => sumOfMetric(await readMetrics(plan.adminPort), POLLED),
    metric: (name) => readMetric(plan.adminPort, name),
    metrics: () => readMetrics(plan.adminPort),
  };
}

async function isReady(adminPort: number): Promise<boolean> {
  try {
    const response = await fetch(`http://${HOST}:${adminPort}/readyz`);
    await response.arrayBuffer();
    return response.ok;
  } catch {
    // Nobody listens yet.
    return false;
  }
}

async function readMetric(adminPort: number, name: string): Promise<number> {
  const value = sumOfMetric(await readMetrics(adminPort), name);
  if (value === undefined) throw new Error(`/metrics has no ${name}`);
  return value;
}

async function readMetrics(adminPort: number): Promise<string> {
  const response = await fetch(`http://${HOST}:${adminPort}/metrics`);
  const text = await response.text();
  if (!response.ok) throw new Error(`/metrics answers ${response.status}`);
  return text;
}

/** The sum of a metric's samples in Prometheus' text; undefined where there is none. */
export function sumOfMetric(text: string, name: string): number | undefined {
  const samples = text.split("\n").filter((line) => /^[\w:]+/.exec(line)?.[0] === name);
  if (samples.length === 0) return undefined;
  return samples.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" ") + 1)), 0);
}
