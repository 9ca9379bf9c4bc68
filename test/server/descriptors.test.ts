import assert from "node:assert/strict";
import { test } from "node:test";
import { filesMax, judgeDescriptors } from "../../src/server/descriptors.js";

test("enough descriptors change nothing, fewer lower the limit and say so, too few are refused", () => {
  assert.deepEqual(judgeDescriptors(65_536, 50_000), {
    ok: true,
    connectionsMax: 50_000,
    warning: undefined,
  });
  const lowered = judgeDescriptors(1024, 50_000);
  assert.ok(lowered.ok);
  assert.equal(lowered.connectionsMax, 704);
  assert.match(lowered.warning ?? "", /1024 files.*704 connections instead of 50000/);
  for (const files of [0, 64, 383]) {
    const refused = judgeDescriptors(files, 50_000);
    assert.ok(!refused.ok, String(files));
    assert.match(refused.problem, /ulimit -n/);
  }
  assert.ok(judgeDescriptors(384, 50_000).ok);
  // Whoever wants few connections needs few descriptors.
  assert.deepEqual(judgeDescriptors(330, 10), {
    ok: true,
    connectionsMax: 10,
    warning: undefined,
  });
  assert.ok(judgeDescriptors(Number.POSITIVE_INFINITY, 50_000).ok);
});

test("the limit is read from what the kernel says", () => {
  const limits = (soft: string) => () =>
    `Limit                     Soft Limit           Hard Limit           Units     \n` +
    `Max open files            ${soft}                 4096                 files     \n`;
  assert.equal(filesMax(limits("1024")), 1024);
  assert.equal(filesMax(limits("unlimited")), Number.POSITIVE_INFINITY);
  assert.equal(
    filesMax(() => {
      throw new Error("no such file");
    }),
    Number.POSITIVE_INFINITY,
  );
  if (process.platform === "linux") assert.ok(filesMax() < Number.POSITIVE_INFINITY);
});
