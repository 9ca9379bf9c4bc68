/** Clients at work on a small bank: what they were told must be true, whatever befalls the servers. */

import assert from "node:assert/strict";
import { type Client, connect, DompError, numbers, op } from "../../../src/client/node.js";

const ACCOUNTS = 8;
const OPENING = 1_000n;
const TIMEOUT_MS = 20_000;

/** What the clients did. */
export interface Done {
  readonly acknowledged: number;
  readonly refused: number;
  /** The longest that one of them waited for an answer. */
  readonly longestMs: number;
}

const account = (number: number): string => `account/${number}`;
const journal = (worker: number, count: number): string => `journal/${worker}/${count}`;

/**
 * Workers that move money: each transfer takes from one account, gives to another, and writes a line
 * in the journal under a name of its own. So the sum never changes, each acknowledged transfer has its
 * line, and the accounts are what the journal says.
 */
export class Bank {
  readonly #clients: readonly Client[];
  readonly #acknowledged = new Set<string>();
  /** Transfers of which nobody knows yet, by the name of their journal's line. */
  readonly #unknown = new Map<string, { readonly worker: number; readonly requestId: string }>();
  #refused = 0;
  #longestMs = 0;
  #stops = false;
  #working: Promise<unknown> = Promise.resolve();

  private constructor(clients: readonly Client[]) {
    this.#clients = clients;
  }

  /** Opens the accounts and begins. Each worker begins at another of the addresses and knows all of them. */
  static async open(urls: readonly string[], workers = 4): Promise<Bank> {
    const clients: Client[] = [];
    for (let worker = 0; worker < workers; worker += 1) {
      clients.push(await connect(urls, { timeoutMs: TIMEOUT_MS, heartbeatMs: 1_000 }));
    }
    const accounts = clients[0]?.space("default", numbers);
    for (let number = 0; number < ACCOUNTS; number += 1) {
      await accounts?.put(account(number), OPENING);
    }
    const bank = new Bank(clients);
    bank.#working = Promise.all(clients.map((client, worker) => bank.#work(client, worker)));
    return bank;
  }

  get acknowledged(): number {
    return this.#acknowledged.size;
  }

  /** Ends the work, when every transfer under way has its answer. */
  async stop(): Promise<Done> {
    this.#stops = true;
    await this.#working;
    return {
      acknowledged: this.#acknowledged.size,
      refused: this.#refused,
      longestMs: this.#longestMs,
    };
  }

  /** Asks after what is unknown, then compares what the clients were told with what there is. */
  async judge(): Promise<void> {
    for (const [line, { worker, requestId }] of this.#unknown) {
      const space = this.#clients[worker]?.space("default", numbers);
      const seen = await space?.outcome(requestId, line);
      if (seen?.outcome === "applied") this.#acknowledged.add(line);
    }
    const space = this.#clients[0]?.space("default", numbers);
    assert.ok(space);
    const balances = new Array<bigint>(ACCOUNTS).fill(OPENING);
    const lines = new Set<string>();
    for await (const { key, value } of space.range({ prefix: "journal/" })) {
      lines.add(String(key));
      const code = Number(value);
      balances[code % ACCOUNTS] = (balances[code % ACCOUNTS] ?? 0n) - 1n;
      const to = Math.floor(code / ACCOUNTS);
      balances[to] = (balances[to] ?? 0n) + 1n;
    }
    for (const line of this.#acknowledged) {
      assert.ok(lines.has(line), `Promise 1: ${line} was acknowledged and is gone`);
    }
    for (const line of lines) {
      assert.ok(this.#acknowledged.has(line), `Promise 4: ${line} was refused and is there`);
    }
    for (const [number, balance] of balances.entries()) {
      const entry = await space.get(account(number));
      assert.equal(entry?.value, balance, `Promise 2: account ${number} is what the journal says`);
    }
  }

  async close(): Promise<void> {
    this.#stops = true;
    await Promise.all(this.#clients.map((client) => client.close({ abort: true })));
  }

  async #work(client: Client, worker: number): Promise<void> {
    const space = client.space("default", numbers);
    for (let count = 0; !this.#stops; count += 1) {
      const from = (worker + count) % ACCOUNTS;
      const to = (worker * 3 + count * 5 + 1) % ACCOUNTS;
      const line = journal(worker, count);
      const begunMs = performance.now();
      try {
        await space.submit({
          then: [
            op.add(account(from), -1n),
            op.add(account(to), 1n),
            op.put(line, BigInt(from + to * ACCOUNTS)),
          ],
        });
        this.#acknowledged.add(line);
      } catch (error) {
        if (!(error instanceof DompError)) throw error;
        if (error.code === "closed") return;
        this.#refused += 1;
        if (error.outcome === "unknown" && error.requestId !== undefined) {
          this.#unknown.set(line, { worker, requestId: error.requestId });
        }
      }
      this.#longestMs = Math.max(this.#longestMs, performance.now() - begunMs);
    }
  }
}
