import assert from "node:assert/strict";
import { test } from "node:test";
import { editDistance, nearestName } from "../../src/protocol/nearest.js";

test("edit distance counts inserts, removals, replacements and swaps", () => {
  assert.equal(editDistance("port", "port"), 0);
  assert.equal(editDistance("", "port"), 4);
  assert.equal(editDistance("prot", "port"), 1);
  assert.equal(editDistance("ports", "port"), 1);
  assert.equal(editDistance("part", "port"), 1);
  assert.equal(editDistance("kitten", "sitting"), 3);
});

test("the nearest name is the one with the fewest edits", () => {
  const known = ["clients.host", "clients.port", "admin.port", "data.directory"];
  assert.equal(nearestName("clients.prot", known), "clients.port");
  assert.equal(nearestName("clients.hots", known), "clients.host");
  assert.equal(nearestName("data.directry", known), "data.directory");
});

test("a right key outside its section finds it", () => {
  assert.equal(nearestName("directory", ["clients.port", "data.directory"]), "data.directory");
  assert.equal(nearestName("client.tls-cert", ["clients.tls_cert"]), "clients.tls_cert");
});

test("nothing is offered when nothing is near", () => {
  assert.equal(nearestName("zzzzzz", ["clients.port", "admin.host"]), undefined);
});
