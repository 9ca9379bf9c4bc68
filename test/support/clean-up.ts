/** What a test undoes when it is over. */

import type { TestContext } from "node:test";

type Scope = Pick<TestContext, "after">;
const open = new WeakMap<Scope, (() => unknown)[]>();

/**
 * Runs something after the test, the last first: a server ends before its directory goes. The hooks
 * of `node:test` alone run in the order they were made.
 */
export function cleanUp(t: Scope, run: () => unknown): void {
  const runs = open.get(t);
  if (runs !== undefined) {
    runs.push(run);
    return;
  }
  const first = [run];
  open.set(t, first);
  t.after(async () => {
    open.delete(t);
    const failures: unknown[] = [];
    for (const next of first.reverse()) {
      try {
        await next();
      } catch (error) {
        // What is left must be undone all the same.
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  });
}
