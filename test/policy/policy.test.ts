import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { hostOfHeader } from "../../src/policy/hosts.js";
import {
  ANONYMOUS,
  Authenticator,
  Doors,
  formatAddress,
  INSECURE_WORDS,
  isLoopbackHost,
  judgeExposure,
  type Listener,
  principal,
} from "../../src/policy/index.js";

const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");

const authenticator = new Authenticator([
  { name: "app", sha256: sha256("secret-of-app"), access: "full" },
  { name: "reader", sha256: sha256("secret-of-reader"), access: "read" },
  { name: "app", sha256: sha256("next-secret-of-app"), access: "full" },
]);

test("a token belongs to its principal, an old and a new one to the same", () => {
  const app = authenticator.authenticate("secret-of-app");
  assert.equal(app?.name, "app");
  assert.equal(app?.access, "full");
  assert.equal(authenticator.authenticate("next-secret-of-app")?.id, app?.id);
  assert.equal(authenticator.authenticate("secret-of-reader")?.access, "read");
});

test("no token, a wrong one and one too long are nobody", () => {
  assert.equal(authenticator.authenticate(undefined), undefined);
  assert.equal(authenticator.authenticate(""), undefined);
  assert.equal(authenticator.authenticate("secret-of-ap"), undefined);
  assert.equal(authenticator.authenticate("x".repeat(5_000)), undefined);
});

test("an Authorization header must be a bearer's", () => {
  assert.equal(authenticator.authenticateHeader("Bearer secret-of-app")?.name, "app");
  assert.equal(authenticator.authenticateHeader("bearer  secret-of-app ")?.name, "app");
  assert.equal(authenticator.authenticateHeader("Basic secret-of-app"), undefined);
  assert.equal(authenticator.authenticateHeader("secret-of-app"), undefined);
  assert.equal(authenticator.authenticateHeader(""), undefined);
});

test("without tokens everybody is anonymous", () => {
  const open = new Authenticator([]);
  assert.equal(open.required, false);
  assert.equal(open.authenticate(undefined), ANONYMOUS);
  assert.equal(open.authenticateHeader(""), ANONYMOUS);
});

test("a principal's number is the beginning of its name's SHA-256, for ever", () => {
  assert.equal(principal("anonymous", "full").id, 0x2f183a4e64493af3n);
  assert.equal(principal("app", "read").id, BigInt(`0x${sha256("app").slice(0, 16)}`));
});

test("loopback is told from what others reach", () => {
  const loopback = ["127.0.0.1", "127.9.9.9", "localhost", "LOCALHOST.", "app.localhost", "::1"];
  for (const host of [...loopback, "[::1]", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1"]) {
    assert.ok(isLoopbackHost(host), host);
  }
  const reachable = ["0.0.0.0", "::", "10.0.0.1", "1270.0.0.1", "127.0.0.1.evil.example"];
  for (const host of [
    ...reachable,
    "localhost.evil.example",
    "fe80::1",
    "::2",
    "2001:db8::1",
    "",
  ]) {
    assert.ok(!isLoopbackHost(host), host);
  }
});

test("addresses are written as in a URL", () => {
  assert.equal(formatAddress("127.0.0.1", 1), "127.0.0.1:1");
  assert.equal(formatAddress("::1", 1), "[::1]:1");
  assert.equal(formatAddress("[::1]", 1), "[::1]:1");
  assert.equal(formatAddress("Localhost", 1), "localhost:1");
});

test("a Host header is read with and without port, and only if well formed", () => {
  assert.equal(hostOfHeader("Example.COM:80"), "example.com");
  assert.equal(hostOfHeader("[::1]:7400"), "::1");
  assert.equal(hostOfHeader("a b"), undefined);
  assert.equal(hostOfHeader("::1"), undefined);
  assert.equal(hostOfHeader("user@host"), undefined);
  assert.equal(hostOfHeader(""), undefined);
});

const listener = (changes: Partial<Listener>): Listener => ({
  section: "clients",
  host: "0.0.0.0",
  hasTokens: false,
  hasTls: false,
  allowInsecure: "",
  ...changes,
});

test("loopback starts without anything", () => {
  assert.equal(judgeExposure(listener({ host: "127.0.0.1" })).verdict, "safe");
  assert.equal(judgeExposure(listener({ host: "::1" })).verdict, "safe");
});

test("off loopback both tokens and TLS are needed, and what is missing is named", () => {
  const refused = (changes: Partial<Listener>) => {
    const exposure = judgeExposure(listener(changes));
    assert.ok(exposure.verdict === "refused", exposure.verdict);
    return exposure.problem;
  };
  assert.match(refused({}), /needs a token .* and TLS .*allow_insecure/);
  assert.doesNotMatch(refused({ hasTokens: true }), /a token/);
  assert.doesNotMatch(refused({ hasTls: true }), /needs .*TLS \(/);
  assert.equal(judgeExposure(listener({ hasTokens: true, hasTls: true })).verdict, "safe");
});

test("only the exact words let it start insecure, and it is warned of", () => {
  assert.equal(judgeExposure(listener({ allowInsecure: INSECURE_WORDS })).verdict, "insecure");
  for (const words of ["yes", "true", "1", "Yes, without protection"]) {
    assert.equal(judgeExposure(listener({ allowInsecure: words })).verdict, "refused", words);
    const local = listener({ allowInsecure: words, host: "127.0.0.1" });
    assert.equal(judgeExposure(local).verdict, "refused", "a misspelt setting is told on loopback");
  }
});

const doors = (changes: Partial<ConstructorParameters<typeof Doors>[0]>) =>
  new Doors({
    host: "127.0.0.1",
    hasTokens: false,
    allowedHosts: [],
    allowedOrigins: [],
    ...changes,
  });

test("on loopback only loopback names are a valid Host", () => {
  const local = doors({});
  for (const host of ["127.0.0.1:7400", "localhost:7400", "[::1]:7400", "localhost"]) {
    assert.ok(local.admitsHost(host), host);
  }
  for (const host of ["evil.example", "evil.example:7400", "10.0.0.1:7400", "", "a b"]) {
    assert.ok(!local.admitsHost(host), host);
  }
  assert.ok(doors({ allowedHosts: ["Db.Example"] }).admitsHost("db.example:7400"));
});

test("off loopback names are checked without tokens or when listed", () => {
  const open = doors({ host: "0.0.0.0", hasTokens: true });
  assert.ok(open.admitsHost("any.example"));
  const listed = doors({ host: "0.0.0.0", hasTokens: true, allowedHosts: ["db.example"] });
  assert.ok(listed.admitsHost("db.example"));
  assert.ok(!listed.admitsHost("any.example"));
  const tokenless = doors({ host: "0.0.0.0" });
  assert.ok(!tokenless.admitsHost("rebound.example"));
  assert.ok(tokenless.admitsHost("10.0.0.1:7400"));
});

test("without an allow-list pages of this host and, on loopback, of this machine come in", () => {
  const local = doors({});
  assert.ok(local.admitsOrigin("", "127.0.0.1:7400"));
  assert.ok(local.admitsOrigin("http://localhost:3000", "127.0.0.1:7400"));
  assert.ok(local.admitsOrigin("http://[::1]:3000", "127.0.0.1:7400"));
  for (const origin of [
    "https://evil.example",
    "null",
    "file://",
    "http://localhost.evil.example",
  ]) {
    assert.ok(!local.admitsOrigin(origin, "127.0.0.1:7400"), origin);
  }
  const remote = doors({ host: "0.0.0.0", hasTokens: true });
  assert.ok(remote.admitsOrigin("https://db.example", "db.example"));
  assert.ok(!remote.admitsOrigin("http://localhost:3000", "db.example"));
});

test("an allow-list is exact, and a star is any", () => {
  const listed = doors({ allowedOrigins: ["https://app.example/"] });
  assert.ok(listed.admitsOrigin("https://app.example", "127.0.0.1"));
  assert.ok(listed.admitsOrigin("", "127.0.0.1"));
  for (const origin of ["http://app.example", "https://app.example:444", "https://x.app.example"]) {
    assert.ok(!listed.admitsOrigin(origin, "127.0.0.1"), origin);
  }
  assert.ok(!listed.admitsOrigin("http://localhost:3000", "127.0.0.1"));
  assert.ok(doors({ allowedOrigins: ["*"] }).admitsOrigin("https://any.example", "127.0.0.1"));
});
