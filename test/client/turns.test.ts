import assert from "node:assert/strict";
import { test } from "node:test";
import { Turns } from "../../src/client/turns.js";
import { watch } from "./support/connect.js";
import { FakeEnvironment } from "./support/environment.js";

test("whoever gave up before the turn came does not wait for it", async () => {
  const environment = new FakeEnvironment();
  const turns = new Turns(environment);
  const deadlineMs = environment.now() + 60_000;
  assert.equal(await turns.take("a", { deadlineMs, signal: undefined }, assert.fail), true);
  const gone = watch(turns.take("a", { deadlineMs, signal: AbortSignal.abort() }, assert.fail));
  await environment.tick();
  assert.equal(gone.value, false);
  assert.equal(environment.timerCount, 0, "nothing is left of it");
  let waits = 0;
  const patient = watch(turns.take("a", { deadlineMs, signal: undefined }, () => (waits += 1)));
  turns.end("a");
  await environment.tick();
  assert.deepEqual([patient.value, waits], [true, 1], "the turn is the next one's");
});
