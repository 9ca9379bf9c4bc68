import assert from "node:assert/strict";
import { test } from "node:test";
import { loadTransport, transportProblem } from "../../src/gateway/transport.js";

test("a Node without binaries is told apart before anything is loaded, with two ways out", () => {
  for (const version of ["v18.20.0", "v21.7.0", "v24.1.0"]) {
    const problem = transportProblem(version, "uws-pack") ?? "";
    assert.match(problem, /Node 20 and 22/);
    assert.ok(problem.includes(version));
    assert.match(problem, /npm install .*uNetworking\/uWebSockets\.js/);
  }
});

test("a supported Node, or another package put there on purpose, is no problem", () => {
  assert.equal(transportProblem("v20.20.2", "uws-pack"), undefined);
  assert.equal(transportProblem("v22.1.0", "uws-pack"), undefined);
  assert.equal(transportProblem("v24.1.0", "uWebSockets.js"), undefined);
});

test("loading on an unsupported Node fails with that message", async () => {
  await assert.rejects(loadTransport("v23.0.0"), /this is Node v23\.0\.0/);
});

test("a port in use and a certificate that is none are told", async () => {
  const transport = await loadTransport();
  const first = transport.createApp(undefined);
  const second = transport.createApp(undefined);
  try {
    const { port } = transport.listen(first, "127.0.0.1", 0);
    assert.throws(() => transport.listen(second, "127.0.0.1", port), /in use/);
  } finally {
    first.close();
    second.close();
  }
  const files = { certFile: "/nowhere/cert.pem", keyFile: "/nowhere/key.pem" };
  assert.throws(() => transport.createApp(files), /TLS can't be set up with \/nowhere\/cert\.pem/);
});
