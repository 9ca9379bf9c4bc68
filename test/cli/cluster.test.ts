import assert from "node:assert/strict";
import { readdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { describeView } from "../../src/cli/cluster.js";
import type { ClusterView } from "../../src/server/index.js";
import { domp } from "../support/command.js";
import { diskDirectory } from "../support/directories.js";

const ADDRESSES = ["127.0.0.1:7402", "127.0.0.1:7412", "node-3.example:7422"];

test("a cluster's directories are prepared once, and only their owner may read the keys", async (t) => {
  const directory = path.join(diskDirectory(t), "made", "here");
  const made = await domp(["cluster", "prepare", directory, ...ADDRESSES, "-o", "json"]);
  assert.equal(made.code, 0, made.stderr);
  const { cluster, nodes } = JSON.parse(made.stdout) as {
    cluster: string;
    nodes: { node: string; address: string; directory: string }[];
  };
  assert.match(cluster, /^[0-9a-f]{32}$/);
  assert.deepEqual(
    nodes.map(({ address }) => address),
    ADDRESSES,
  );
  assert.equal(new Set(nodes.map(({ node }) => node)).size, 3);
  for (const { node, directory: data } of nodes) {
    const folder = path.join(data, "cluster");
    assert.equal(statSync(data).mode & 0o777, 0o700);
    assert.equal(statSync(path.join(folder, "node-key.pem")).mode & 0o777, 0o600);
    const said = JSON.parse(readFileSync(path.join(folder, "cluster.json"), "utf8"));
    assert.equal(said.node, node);
    assert.equal(said.members.length, 3);
  }
  const before = readFileSync(path.join(directory, "authority-key.pem"), "utf8");
  const again = await domp(["cluster", "prepare", directory, ...ADDRESSES]);
  assert.equal(again.code, 1);
  assert.match(again.stderr, /is there already/);
  assert.equal(readFileSync(path.join(directory, "authority-key.pem"), "utf8"), before);
});

test("what makes no cluster is refused in plain words, and leaves nothing", async (t) => {
  const directory = path.join(diskDirectory(t), "made");
  for (const [addresses, words] of [
    [ADDRESSES.slice(1), /3, 5 or 7 nodes, and these are 2/],
    [[...ADDRESSES, "d:1"], /these are 4/],
    [["a:1", "b:1", "a:1"], /a:1 is there twice/],
    [["a:1", "b:1", "c"], /"c" is no HOST:PORT/],
    [["a:1", "b:1", "c:70000"], /"c:70000" is no HOST:PORT/],
  ] as const) {
    const refused = await domp(["cluster", "prepare", directory, ...addresses]);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, words);
  }
  assert.deepEqual(readdirSync(path.dirname(directory)), []);
});

test("status without a server says what is missing", async () => {
  const status = await domp(["cluster", "status", "--admin", "http://127.0.0.1:9"]);
  assert.equal(status.code, 3);
  assert.match(status.stderr, /no answer from http:\/\/127\.0\.0\.1:9/);
  const bad = await domp(["cluster", "status", "--admin", "nowhere"]);
  assert.equal(bad.code, 2, bad.stderr);
});

test("status tells what is down, who leads, and what to do about it", () => {
  const member = { address: "a:1", reached: true, why: null };
  const space = { term: 3, appliedIndex: 9, keys: 2, lags: [], stopped: null };
  const view: ClusterView = {
    cluster: "c".repeat(32),
    node: "1".repeat(16),
    members: [
      { ...member, node: "1".repeat(16) },
      { ...member, node: "2".repeat(16), reached: false, why: "can't connect" },
      { ...member, node: "3".repeat(16) },
    ],
    spaces: [
      { ...space, id: 0, name: "", leader: "1".repeat(16) },
      { ...space, id: 1, name: "default", leader: null },
      { ...space, id: 2, name: "games", leader: null, stopped: "rot" },
    ],
  };
  const text = describeView(view);
  assert.match(text, /1{16} +a:1 +this node/);
  assert.match(text, /2{16} +a:1 +no: can't connect/);
  assert.match(text, /\(names\) +1{16} +3 +9/);
  assert.match(text, /default +nobody/);
  assert.match(text, /games +stopped: rot/);
  assert.match(text, /1 of 3 nodes not reached: everything goes on while 2 are/);
  assert.match(text, /nobody leads default: elections/);
  const alone = describeView({ ...view, members: view.members.slice(0, 2) });
  assert.match(alone, /reaches 1 of 2 nodes, itself included: that is no majority/);
});
