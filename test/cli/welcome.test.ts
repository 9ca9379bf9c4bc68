import assert from "node:assert/strict";
import { test } from "node:test";
import { reachable } from "../../src/cli/start.js";

test("what a server suggests to connect to is an address that can be connected to", () => {
  const suggest = (address: string): string =>
    reachable({ url: `wss://${address}/v1`, address }).url;
  assert.equal(suggest("0.0.0.0:7400"), "wss://localhost:7400/v1");
  assert.equal(suggest("[::]:7400"), "wss://localhost:7400/v1");
  assert.equal(suggest("[::1]:7400"), "wss://[::1]:7400/v1");
  assert.equal(suggest("10.0.0.0:7400"), "wss://10.0.0.0:7400/v1");
  assert.equal(suggest("db.example:7400"), "wss://db.example:7400/v1");
});
