/** Clusters of real processes, prepared and started as an operator does it. */

import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { ClusterView } from "../../../src/server/index.js";
import { domp } from "../../support/command.js";
import { diskDirectory } from "../../support/directories.js";
import { type Ended, type ServerProcess, stablePort, startServer } from "../../support/server.js";
import { Network } from "./network.js";

/** How long a cluster may take to come to what is asked. */
const PATIENCE_MS = 20_000;
const POLL_MS = 20;

export interface ClusterOptions {
  /** 3, 5 or 7; default 3. */
  readonly size?: number;
  /** Whether a network stands between them that can be cut. */
  readonly proxied?: boolean;
  /** More words for `domp start`. */
  readonly words?: readonly string[];
}

/** A running cluster. Nodes are numbered from 0. */
export class Cluster {
  readonly directories: readonly string[];
  /** Where clients connect, by node; the same through restarts. */
  readonly urls: readonly string[];
  readonly network: Network | undefined;
  readonly #t: Pick<TestContext, "after">;
  readonly #ports: readonly number[];
  readonly #words: readonly (readonly string[])[];
  readonly #nodes = new Map<number, ServerProcess>();

  private constructor(
    t: Pick<TestContext, "after">,
    directories: readonly string[],
    ports: readonly number[],
    words: readonly (readonly string[])[],
    network: Network | undefined,
  ) {
    this.#t = t;
    this.directories = directories;
    this.#ports = ports;
    this.#words = words;
    this.network = network;
    this.urls = ports.map((port) => `ws://127.0.0.1:${port}`);
  }

  /** Prepares one and starts all of its nodes. */
  static async start(
    t: Pick<TestContext, "after">,
    { size = 3, proxied = false, words = [] }: ClusterOptions = {},
  ): Promise<Cluster> {
    const directory = path.join(diskDirectory(t), "cluster");
    const listens: number[] = [];
    const ports: number[] = [];
    for (let node = 0; node < size; node += 1) {
      listens.push(await stablePort());
      ports.push(await stablePort());
    }
    const addresses = listens.map((port) => `127.0.0.1:${port}`);
    const prepared = await domp(["cluster", "prepare", directory, ...addresses]);
    if (prepared.code !== 0) throw new Error(`prepare failed: ${prepared.stderr}`);
    const directories = listens.map((_, node) => path.join(directory, `node-${node + 1}`));
    const network = proxied ? await Network.start(t, listens) : undefined;
    if (network !== undefined) interpose(directories, network);
    const all = addresses.map((address) => [
      ...(network === undefined ? [] : ["--cluster-listen", address]),
      ...words,
    ]);
    const cluster = new Cluster(t, directories, ports, all, network);
    await cluster.startAll();
    return cluster;
  }

  /** Starts those that do not run. */
  async startAll(): Promise<void> {
    const down = this.directories.map((_, node) => node).filter((node) => !this.#nodes.has(node));
    await Promise.all(down.map((node) => this.startNode(node)));
  }

  async startNode(node: number): Promise<void> {
    const started = await startServer(this.#t, {
      data: this.directories[node] ?? "",
      port: this.#ports[node] ?? 0,
      words: this.#words[node] ?? [],
    });
    this.#nodes.set(node, started);
  }

  /** The running node. */
  node(node: number): ServerProcess {
    const running = this.#nodes.get(node);
    if (running === undefined) throw new Error(`node ${node} does not run`);
    return running;
  }

  /** Ends a node, SIGKILL if nothing else is named. */
  async stop(node: number, signal: NodeJS.Signals = "SIGKILL"): Promise<Ended> {
    const running = this.node(node);
    this.#nodes.delete(node);
    return running.stop(signal);
  }

  /** All processes halt or go on. */
  signal(node: number, signal: "SIGSTOP" | "SIGCONT"): void {
    process.kill(this.node(node).pid, signal);
  }

  /** The cluster as a running node sees it. */
  async view(node: number): Promise<ClusterView> {
    const response = await fetch(`${this.node(node).adminUrl}/cluster`, {
      signal: AbortSignal.timeout(5_000),
    });
    return (await response.json()) as ClusterView;
  }

  /** The node that leads a space, as that node itself says; waits for one. `among`: who is asked. */
  async leader(space = "default", among = [...this.#nodes.keys()]): Promise<number> {
    return waitFor(`a leader of ${space}`, async () => {
      for (const node of among) {
        const view = await this.view(node).catch(() => undefined);
        const leader = view?.spaces.find(({ name }) => name === space)?.leader;
        if (view !== undefined && leader === view.node) return node;
      }
      return undefined;
    });
  }

  /** Waits until the leaders have seen all others hold everything. */
  async caughtUp(): Promise<void> {
    await waitFor("all replicas caught up", async () => {
      const views = await Promise.all([...this.#nodes.keys()].map((node) => this.view(node)));
      const led = views.flatMap((view) =>
        view.spaces.filter(({ leader }) => leader === view.node).map(({ lags }) => lags),
      );
      const spaces = views[0]?.spaces.length ?? 0;
      const isDone = led.length === spaces && led.flat().every(({ entries }) => entries === 0);
      return isDone ? true : undefined;
    });
  }
}

/** Has each node dial the others through the network. */
function interpose(directories: readonly string[], network: Network): void {
  for (const [from, directory] of directories.entries()) {
    const file = path.join(directory, "cluster", "cluster.json");
    const said = JSON.parse(readFileSync(file, "utf8")) as {
      members: { node: string; address: string }[];
    };
    for (const [to, member] of said.members.entries()) {
      member.address = `127.0.0.1:${network.portOf(from, to)}`;
    }
    writeFileSync(file, JSON.stringify(said));
  }
}

/** Asks again and again until there is an answer. */
export async function waitFor<T>(what: string, ask: () => Promise<T | undefined>): Promise<T> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (performance.now() > deadline) throw new Error(`waited in vain for ${what}`);
    await sleep(POLL_MS);
  }
}
