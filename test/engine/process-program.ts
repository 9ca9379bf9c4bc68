// What process.test.ts runs as processes of their own: `process-program.js MODE DIRECTORY`. Prints
// the highest acknowledged value of the key `counter`, one line a value.

import { parentPort } from "node:worker_threads";
import { offline, openEngine } from "../../src/engine/index.js";
import { put, TestGateway } from "./gateway.js";

const [mode = "", directory = ""] = process.argv.slice(2);

async function count(gateway: TestGateway, from: number, to: number): Promise<void> {
  for (let value = from; value <= to; value++) {
    await gateway.submit(1, 1, value, put("counter", `${value}`));
    await gateway.replies(1, 1, 1);
    // Straight to the descriptor: an exit must not swallow it.
    process.stdout.write(`${value}\n`);
  }
}

async function main(): Promise<void> {
  if (mode === "log") {
    await offline({ kind: "log", directory });
    return;
  }
  if (mode === "exit-opening") {
    // Left to itself on purpose: the process ends first.
    void openEngine({ directory }, () => undefined).catch(() => undefined);
    process.exit(0);
  }
  const gateway = await TestGateway.open({ directory });
  await gateway.attach(1, 1);
  await count(gateway, 1, 20);
  if (mode === "close") await gateway.engine.close();
  if (mode === "exit") {
    for (let value = 21; value <= 500; value++) {
      await gateway.submit(1, 1, value, put("counter", `${value}`));
    }
    process.exit(0);
  }
  if (mode === "throw") throw new Error("thrown on purpose");
  if (mode === "worker") {
    parentPort?.postMessage("open");
    setInterval(() => undefined, 1000);
  }
}

try {
  await main();
} catch (error) {
  console.error(`${error}`);
  process.exitCode = 1;
}
