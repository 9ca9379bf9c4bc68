/** A disk that is really full: a small file system of its own. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  closeSync,
  mkdirSync,
  openSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { bytes, connect, DompError } from "../../src/client/node.js";
import { needs, works } from "../support/command.js";
import { diskDirectory } from "../support/directories.js";
import { startServer } from "../support/server.js";

const DISK_MIB = 192;
const VALUE = new Uint8Array(256 * 1024);

test("a full disk refuses writes, serves reads, and goes on when there is room", {
  timeout: 120_000,
}, async (t) => {
  let unmount: () => unknown = () => undefined;
  // Hooks run in this order: first what is mounted goes, then its directory.
  t.after(() => unmount());
  if (!needs(t, "mkfs.ext4", works("mkfs.ext4", ["-V"]))) return;
  const directory = diskDirectory(t);
  const image = path.join(directory, "image");
  const mounted = path.join(directory, "mounted");
  mkdirSync(mounted);
  writeFileSync(image, "");
  truncateSync(image, DISK_MIB << 20);
  assert.ok(works("mkfs.ext4", ["-q", "-F", image]));
  const mounts = works("mount", ["-o", "loop", image, mounted]);
  if (!needs(t, "a loop device", mounts)) return;
  unmount = () => spawnSync("umount", ["-l", mounted]);

  const data = path.join(mounted, "data");
  const filler = path.join(mounted, "filler");
  writeFileSync(filler, new Uint8Array(64 << 20));
  const server = await startServer(t, {
    data,
    words: ["--log-segment-size", "16MiB"],
  });
  const client = await connect(server.url, { timeoutMs: 2_000 });
  const space = client.space("default", bytes);
  await space.put("first", new Uint8Array([1]));
  let refused: DompError | undefined;
  let stored = 0;
  for (let at = 0; at < 2_000 && refused === undefined; at += 1) {
    try {
      await space.put(`big/${at}`, VALUE);
      stored += 1;
    } catch (error) {
      assert.ok(error instanceof DompError);
      refused = error;
    }
  }
  assert.ok(refused, "the disk never filled");
  assert.ok(["overloaded", "timeout"].includes(refused.code), refused.code);
  assert.notEqual(refused.outcome, "not_applied");
  assert.deepEqual((await space.get("first"))?.value, new Uint8Array([1]), "reads go on");
  assert.equal(await space.count({}), stored + 1);
  let ready = "";
  for (let at = 0; at < 10 && !ready.startsWith("200 ready for reads"); at += 1) {
    const response = await fetch(`${server.adminUrl}/readyz`);
    ready = `${response.status} ${await response.text()}`;
    if (!ready.startsWith("200 ready for reads")) await sleep(500);
  }
  assert.match(ready, /^200 ready for reads; the disk is full/);
  rmSync(filler);
  let again = false;
  for (let at = 0; at < 20 && !again; at += 1) {
    again = await space.put("again", new Uint8Array([2])).then(
      () => true,
      () => false,
    );
    if (!again) await sleep(500);
  }
  assert.ok(again, "writes go on when there is room");
  t.diagnostic(`${stored} values of 256 KiB stored before ${refused.code}`);
  await client.close();
  await server.stop("SIGKILL");
  const second = await startServer(t, { data, words: ["--log-segment-size", "16MiB"] });
  const reader = await connect(second.url, { timeoutMs: 10_000 });
  assert.equal(await reader.space("default", bytes).count({ prefix: "big/" }), stored);
  await reader.close();
  await second.stop("SIGKILL");

  // Not a block is left: whatever a start would write has no room.
  assert.throws(() => fill(filler), /ENOSPC/);
  const third = await startServer(t, { data, words: ["--log-segment-size", "16MiB"] });
  const late = await connect(third.url, { timeoutMs: 10_000 });
  assert.equal(await late.space("default", bytes).count({ prefix: "big/" }), stored);
  await late.close();
  await third.stop();
});

/** Writes until the disk is full. */
function fill(file: string): void {
  const opened = openSync(file, "w");
  try {
    for (let bytes = 1 << 20; ; ) {
      try {
        for (;;) writeSync(opened, new Uint8Array(bytes));
      } catch (error) {
        // What is left takes smaller pieces.
        if (bytes === 1) throw error;
        bytes >>= 1;
      }
    }
  } finally {
    closeSync(opened);
  }
}
