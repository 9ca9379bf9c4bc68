// What the tests of the SDK share that talk to a real server.
import assert from "node:assert/strict";
import path from "node:path";
import { after, before } from "node:test";
import { type Client, type ConnectOptions, connect } from "../../../src/client/node.js";
import { freshDirectory } from "../../support/directories.js";
import { type ServerProcess, startServer } from "../../support/server.js";

export interface SharedServer {
  /** Where it is, once the tests run. */
  url(): string;
  /** A client of this server, or of another, closed with the test. */
  open(
    t: { after(run: () => unknown): void },
    options?: ConnectOptions,
    url?: string,
  ): Promise<Client>;
}

/** A server in a process of its own for all tests of the file that calls this. */
export function sharedServer(): SharedServer {
  const cleanUps: (() => unknown)[] = [];
  const scope = { after: (run: () => unknown) => void cleanUps.push(run) } as never;
  let server: ServerProcess | undefined;
  before(async () => {
    const data = path.join(freshDirectory(scope), "data");
    server = await startServer(scope, { data });
  });
  after(async () => {
    for (const run of cleanUps.reverse()) await run();
  });
  const url = (): string => {
    assert.ok(server, "the server starts before the first test");
    return server.url;
  };
  return {
    url,
    async open(t, options = {}, to = url()) {
      const client = await connect(to, options);
      t.after(() => client.close({ abort: true }));
      return client;
    },
  };
}

/** Waits until something holds; 40 s at most. */
export async function until(holds: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 40_000;
  while (!(await holds())) {
    assert.ok(performance.now() < deadline, "it never came to hold");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
