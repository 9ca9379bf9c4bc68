/** What lies between the nodes of a cluster: a proxy for each way, which can be cut, one way or both. */

import { connect as connectSocket, createServer, type Server, type Socket } from "node:net";
import type { TestContext } from "node:test";
import { cleanUp } from "../../support/clean-up.js";

/** Which half of a connection carries what one node sends to another. */
interface Flow {
  readonly from: number;
  readonly to: number;
}

/** One half of a proxied connection: bytes of one node for another. */
interface Half extends Flow {
  readonly source: Socket;
  readonly target: Socket;
}

/**
 * Stands between nodes: node `from` dials node `to` at `portOf(from, to)`. What is cut is not read any
 * more, as on a network that drops packets: nobody is told, and nothing is lost once it is healed.
 */
export class Network {
  readonly #ports: readonly (readonly number[])[];
  readonly #servers: readonly Server[];
  readonly #halves = new Set<Half>();
  /** Cut ways, as `from>to`. */
  readonly #cut = new Set<string>();

  private constructor(ports: readonly (readonly number[])[], servers: readonly Server[]) {
    this.#ports = ports;
    this.#servers = servers;
  }

  /** One between nodes that listen at these ports. */
  static async start(t: Pick<TestContext, "after">, listens: readonly number[]): Promise<Network> {
    const servers: Server[] = [];
    const ports: number[][] = [];
    const network = new Network(ports, servers);
    cleanUp(t, async () => network.close());
    for (const from of listens.keys()) {
      const row: number[] = [];
      for (const [to, port] of listens.entries()) {
        row.push(from === to ? port : await network.#listen(servers, { from, to }, port));
      }
      ports.push(row);
    }
    return network;
  }

  portOf(from: number, to: number): number {
    return this.#ports[from]?.[to] ?? 0;
  }

  /** Nothing that `from` sends reaches `to`. */
  cut(from: number, to: number): void {
    this.#cut.add(`${from}>${to}`);
    this.#apply();
  }

  /** A node hears nobody and nobody hears it. */
  isolate(node: number): void {
    for (const other of this.#ports.keys()) {
      if (other === node) continue;
      this.#cut.add(`${node}>${other}`);
      this.#cut.add(`${other}>${node}`);
    }
    this.#apply();
  }

  /** Everything gets through. */
  heal(): void {
    this.#cut.clear();
    this.#apply();
  }

  close(): void {
    for (const server of this.#servers) server.close();
    for (const { source } of this.#halves) source.destroy();
  }

  #apply(): void {
    for (const half of this.#halves) this.#steer(half);
  }

  #steer({ source, from, to }: Half): void {
    if (this.#cut.has(`${from}>${to}`)) source.pause();
    else source.resume();
  }

  #listen(servers: Server[], flow: Flow, port: number): Promise<number> {
    const server = createServer({ allowHalfOpen: true }, (dialled) => {
      const answering = connectSocket({ port, host: "127.0.0.1", allowHalfOpen: true });
      this.#join(dialled, answering, flow);
      this.#join(answering, dialled, { from: flow.to, to: flow.from });
    });
    servers.push(server);
    return new Promise((resolve, reject) => {
      server.once("error", reject);
      server.listen(0, "127.0.0.1", () => {
        resolve((server.address() as { port: number }).port);
      });
    });
  }

  #join(source: Socket, target: Socket, flow: Flow): void {
    const half: Half = { ...flow, source, target };
    this.#halves.add(half);
    source.on("data", (bytes) => {
      target.write(bytes);
    });
    source.on("end", () => target.end());
    source.on("error", () => undefined);
    source.on("close", () => {
      this.#halves.delete(half);
      // Behind a cut nobody hears of an end either, until it is healed.
      if (!this.#cut.has(`${flow.from}>${flow.to}`)) target.destroy();
    });
    this.#steer(half);
  }
}
