import assert from "node:assert/strict";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { createServer, type Server } from "node:net";
import { test } from "node:test";
import { WebSocketServer, WebSocket as WsWebSocket } from "ws";
import type { ConnectionState } from "../../src/client/connection.js";
import { DompError } from "../../src/client/errors.js";
import { connect, text } from "../../src/client/node.js";
import { type WebSocketConstructor, webSocketTransport } from "../../src/client/transport.js";
import { PeerConnection as Connection, Peer, type PeerConnection } from "./support/peer.js";

/** A server on a real socket that says what the peer says. */
async function serve(peer: Peer): Promise<{ url: string; server: WebSocketServer }> {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  await once(server, "listening");
  server.on("connection", (socket) => {
    const connection: PeerConnection = new Connection(peer, "", {
      onOpen: () => {},
      onFrame: (frame) => socket.send(frame),
      onClose: () => socket.terminate(),
    });
    peer.connections.push(connection);
    socket.on("message", (data) => connection.receive(new Uint8Array(data as Buffer)));
    socket.on("close", () => {
      connection.isOpen = false;
    });
  });
  return { url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}`, server };
}

/** `ws`, and the WebSocket of the runtime where there is one (Node 22). */
const CONSTRUCTORS = new Map<string, unknown>([["ws", WsWebSocket]]);
if ("WebSocket" in globalThis) CONSTRUCTORS.set("the global WebSocket", globalThis.WebSocket);

for (const [name, WebSocket] of CONSTRUCTORS) {
  test(`frames travel over a real socket with ${name}`, async () => {
    const peer = new Peer();
    peer.answer = ({ sequence }) => ({ sequence, revision: 9n });
    const { url, server } = await serve(peer);
    const client = await connect(url, {
      transport: webSocketTransport(WebSocket as WebSocketConstructor),
    });
    const space = client.space("default", text);
    const answers = await Promise.all([1, 2, 3].map((i) => space.put(`key/${i}`, "v".repeat(i))));
    assert.deepEqual(
      answers.map(({ revision }) => revision),
      [9n, 9n, 9n],
    );
    assert.equal(peer.last.frames.length, 1, "one tick, one frame, one message");
    peer.last.drop();
    await space.put("again", "v");
    assert.equal(peer.connections.length, 2);
    await client.close();
    server.close();
  });
}

test("connect finds a way by itself, and no server is unreachable", async () => {
  const peer = new Peer();
  const { url, server } = await serve(peer);
  const client = await connect(url);
  assert.equal(client.state.state, "connected");
  await client.close();
  server.close();
  await once(server, "close");
  const started = performance.now();
  await assert.rejects(connect(url, { timeoutMs: 300 }), (error) => {
    assert.ok(error instanceof DompError);
    assert.equal(error.code, "unreachable");
    return true;
  });
  assert.ok(performance.now() - started < 5_000);
});

test("a server that is none of ours is unreachable, not a hang", async () => {
  const server: Server = createServer((socket) => {
    socket.on("error", () => {});
    socket.end("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  await assert.rejects(connect(`ws://127.0.0.1:${port}`, { timeoutMs: 300 }), {
    code: "unreachable",
  });
  server.close();
});

/** A server that answers every handshake with this. */
async function refusing(status: string, body: string): Promise<{ url: string; server: Server }> {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => {
      socket.end(`HTTP/1.1 ${status}\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}`, server };
}

test("a handshake that the server refuses says why, and what another try can't mend ends at once", async () => {
  const body = '{"error":{"code":"forbidden","message":"pages of this origin may not connect"}}';
  const { url, server } = await refusing("403 Forbidden", body);
  await assert.rejects(connect(url, { timeoutMs: 60_000 }), {
    code: "forbidden",
    message: /pages of this origin may not connect/,
  });
  server.close();
});

test("a handshake refused for now shows in the state, with the server's reason", async () => {
  const body = '{"error":{"code":"too_many_connections","message":"1 of 1"}}';
  for (const [text, expected] of [
    [body, { code: "too_many_connections", reason: "too_many_connections: 1 of 1" }],
    ["<html>", { code: undefined, reason: "the server answered with status 503" }],
  ] as const) {
    const { url, server } = await refusing("503 Service Unavailable", text);
    const states: ConnectionState[] = [];
    const onState = (state: ConnectionState): void => void states.push(state);
    await assert.rejects(connect(url, { timeoutMs: 400, onState }), { code: "unreachable" });
    const seen = states.find(({ state }) => state === "disconnected");
    assert.ok(seen?.state === "disconnected");
    assert.deepEqual({ code: seen.code, reason: seen.reason }, expected);
    server.close();
  }
});

test("a transport that hears of a bad certificate says so; one that hears nothing says what it may be", () => {
  const sockets: { [name: string]: unknown }[] = [];
  class Socket {
    readyState = 0;
    constructor() {
      sockets.push(this as never);
    }
    send(): void {}
    close(): void {}
  }
  const heard: [string, string | undefined][] = [];
  const transport = webSocketTransport(Socket as unknown as WebSocketConstructor);
  const events = {
    onOpen: () => {},
    onFrame: () => {},
    onClose: (reason: string, code?: string) => void heard.push([reason, code]),
  };
  const fire = (name: string, event: object): void => {
    const listener = sockets.at(-1)?.[name];
    assert.ok(typeof listener === "function");
    listener(event);
  };
  transport.open("wss://a.test/", events);
  fire("onerror", {
    message: "self-signed certificate",
    error: { code: "DEPTH_ZERO_SELF_SIGNED_CERT" },
  });
  fire("onclose", { code: 1006 });
  transport.open("wss://a.test/", events);
  fire("onerror", {});
  fire("onclose", { code: 1006 });
  transport.open("wss://a.test/", events);
  fire("onopen", {});
  fire("onclose", { code: 1012 });
  assert.deepEqual(heard[0], [
    "the server's certificate is not trusted: self-signed certificate",
    undefined,
  ]);
  assert.match(heard[1]?.[0] ?? "", /no server there, .* certificate .* origin/);
  assert.match(heard[2]?.[0] ?? "", /code 1012/);
});

test("a server that sends text is broken off", async () => {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  await once(server, "listening");
  server.on("connection", (socket) => socket.send("welcome"));
  const { port } = server.address() as AddressInfo;
  await assert.rejects(connect(`ws://127.0.0.1:${port}`, { timeoutMs: 300 }), {
    code: "unreachable",
    message: /text/,
  });
  for (const socket of server.clients) socket.terminate();
  server.close();
});
