// One client that asks for much does not keep another waiting until it has it all (Promise 7). What is
// compared is an order, never a time.

import assert from "node:assert/strict";
import path from "node:path";
import { test } from "node:test";
import { connect, op, text } from "../../src/client/node.js";
import { freshDirectory } from "../support/directories.js";
import { startServer } from "../support/server.js";

const KEYS = 4_096;
/** Some 40 MiB of answers, asked for in some 20 KB. */
const READS = 250;

test("a client's get and put are answered before all that another asked for", async (t) => {
  const server = await startServer(t, { data: path.join(freshDirectory(t), "data") });
  const greedy = await connect(server.url, { timeoutMs: 60_000 });
  t.after(() => greedy.close({ abort: true }));
  const modest = await connect(server.url);
  t.after(() => modest.close({ abort: true }));
  const space = greedy.space("default", text);
  const value = "twenty bytes of text";
  await space.submit({
    then: Array.from({ length: KEYS }, (_, n) => op.put(`k${n}`, value)),
  });

  let answered = 0;
  const reads = Array.from({ length: READS }, async () => {
    const { results } = await space.submit({ then: [op.range({ limit: KEYS })] });
    answered += 1;
    return results;
  });
  const others = modest.space("default", text);
  for (let n = 0; n < 5; n++) {
    await others.put(`other${n}`, "v");
    assert.equal((await others.get(`other${n}`))?.value, "v");
  }
  assert.ok(answered < READS, "the modest client had to wait for all of the other's reads");
  assert.equal((await Promise.all(reads)).length, READS);

  // What is asked and then left is not done, and the server is there for the others.
  const left = Array.from({ length: READS }, () =>
    space.submit({ then: [op.range({ limit: KEYS })] }).catch(() => undefined),
  );
  await others.put("before", "v");
  await greedy.close({ abort: true });
  await Promise.all(left);
  await others.put("after", "v");
  const metrics = await (await fetch(`${server.adminUrl}/metrics`)).text();
  const abandoned = /^domp_node_abandoned_total (\d+)$/m.exec(metrics)?.[1];
  assert.ok(Number(abandoned) > 0, `${abandoned} requests were forgotten`);
});
