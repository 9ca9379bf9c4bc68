import assert from "node:assert/strict";
import { test } from "node:test";
import { routeOf } from "../../../src/gateway/http/routes.js";

test("the paths of the HTTP door are known", () => {
  assert.deepEqual(routeOf("/v1/transactions"), { kind: "transactions" });
  assert.deepEqual(routeOf("/v1"), { kind: "socket" });
  assert.deepEqual(routeOf("/"), { kind: "socket" });
  assert.deepEqual(routeOf("/v1/"), { kind: "unknown" });
  assert.deepEqual(routeOf("/v1/spaces/a/keys/"), { kind: "unknown" });
  assert.deepEqual(routeOf("/v2/transactions"), { kind: "unknown" });
});

test("space and key are read from the path, escapes and slashes included", () => {
  assert.deepEqual(routeOf("/v1/spaces/default/keys/player/1"), {
    kind: "key",
    space: "default",
    key: new TextEncoder().encode("player/1"),
  });
  assert.deepEqual(routeOf("/v1/spaces/a%20b/keys/%ff%00%2F"), {
    kind: "key",
    space: "a b",
    key: Uint8Array.of(0xff, 0x00, 0x2f),
  });
  assert.deepEqual(routeOf("/v1/spaces/default/keys/%C3%A4"), {
    kind: "key",
    space: "default",
    key: new TextEncoder().encode("ä"),
  });
});

test("broken escapes and keys too long are told", () => {
  for (const path of ["/v1/spaces/a/keys/%f", "/v1/spaces/a/keys/%zz", "/v1/spaces/%ff/keys/a"]) {
    assert.equal(routeOf(path).kind, "malformed", path);
  }
  assert.equal(routeOf(`/v1/spaces/a/keys/${"k".repeat(1025)}`).kind, "malformed");
  assert.equal(routeOf(`/v1/spaces/a/keys/${"k".repeat(1024)}`).kind, "key");
});
