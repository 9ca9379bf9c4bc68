/**
 * Promise 1 under a tracer: a kill alone proves nothing, for the page cache survives it. Every
 * acknowledgement must leave after a flush that began after its request came.
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { connect, text } from "../../src/client/node.js";
import { needs, works } from "../support/command.js";
import { diskDirectory } from "../support/directories.js";
import { startServer } from "../support/server.js";

const PUTS = 60;

/** One system call: when it began and ended, as line numbers of the trace. */
interface Call {
  readonly name: string;
  readonly text: string;
  readonly began: number;
  readonly ended: number;
}

/** Joins what the tracer split because another thread came between. */
function parseTrace(trace: string): Call[] {
  const open = new Map<string, { name: string; text: string; began: number }>();
  const calls: Call[] = [];
  for (const [at, line] of trace.split("\n").entries()) {
    const match = /^(\d+)\s+(.*)$/.exec(line);
    if (match === null) continue;
    const [, pid = "", rest = ""] = match;
    const resumed = /^<\.\.\. (\w+) resumed>(.*)$/.exec(rest);
    if (resumed !== null) {
      const begun = open.get(pid);
      open.delete(pid);
      if (begun !== undefined) calls.push({ ...begun, text: begun.text + resumed[2], ended: at });
      continue;
    }
    const name = /^(\w+)\(/.exec(rest)?.[1];
    if (name === undefined) continue;
    const cut = rest.indexOf("<unfinished ...>");
    if (cut >= 0) open.set(pid, { name, text: rest.slice(0, cut), began: at });
    else calls.push({ name, text: rest, began: at, ended: at });
  }
  return calls.sort((one, other) => one.ended - other.ended);
}

for (const mode of ["auto", "inline", "threaded"] as const) {
  test(`every acknowledgement follows the flush that covers its request, log ${mode}`, {
    timeout: 60_000,
  }, async (t) => {
    if (!needs(t, "strace", works("strace", ["-V"]))) return;
    const data = diskDirectory(t);
    const file = path.join(data, "trace");
    const calls =
      "openat,pwrite64,pwritev,pwritev2,write,fdatasync,fsync,recvfrom,read,sendto,send,sendmsg";
    const server = await startServer(t, {
      data: path.join(data, "data"),
      words: ["--log-mode", mode],
      // -D: the node is our child, the tracer its grandchild, so that signals reach the node.
      under: ["strace", "-D", "-f", "-q", "-yy", "-s", "16", "-e", `trace=${calls}`, "-o", file],
    });
    const client = await connect(server.url, { timeoutMs: 20_000 });
    const space = client.space("default", text);
    for (let at = 0; at < PUTS; at += 1) await space.put(`strace/${at}`, String(at));
    await client.close();
    await server.stop();

    // The tracer is nobody's child: its last word is that the node ended.
    const over = new RegExp(`^${server.pid} .*exited with`, "m");
    while (!over.test(readFileSync(file, "utf8"))) await sleep(20);
    const trace = parseTrace(readFileSync(file, "utf8"));
    // O_DSYNC makes a write its own flush.
    const direct = trace.some(
      ({ name, text }) => name === "openat" && /O_D?SYNC/.test(text) && text.includes("/wal/"),
    );
    const flushes = trace.filter(
      (call) =>
        /wal\/\d+\.log/.test(call.text) &&
        (call.name === "fdatasync" ||
          call.text.includes("RWF_DSYNC") ||
          (direct && call.name.startsWith("pwrite"))) &&
        / = (0|[1-9]\d*)$/.test(call.text),
    );
    assert.ok(flushes.length >= PUTS, `${flushes.length} flushes for ${PUTS} puts in turn`);
    const { port } = server;
    const onClient = (call: Call) => call.text.includes(`127.0.0.1:${port}->`);
    const received = trace.filter(
      (call) =>
        /^(recvfrom|read)$/.test(call.name) && onClient(call) && / = [1-9]\d*$/.test(call.text),
    );
    // 0x82: a binary message; a close or a pong acknowledges nothing.
    const sent = trace.filter(
      (call) => /^(send|write)/.test(call.name) && onClient(call) && call.text.includes('"\\202'),
    );
    let checked = 0;
    for (const answer of sent.slice(-PUTS)) {
      // Requests come one at a time: the last bytes received before this answer are its request.
      const request = received.filter((call) => call.ended < answer.began).at(-1);
      assert.ok(request, "an answer without a request");
      const covered = flushes.some(
        (flush) => flush.began > request.began && flush.ended < answer.began,
      );
      assert.ok(covered, `an answer left before its flush: ${answer.text}`);
      checked += 1;
    }
    assert.equal(checked, PUTS);
    t.diagnostic(
      `${checked} answers, ${flushes.length} flushes, ${direct ? "O_DSYNC" : "fdatasync"}`,
    );
  });
}
