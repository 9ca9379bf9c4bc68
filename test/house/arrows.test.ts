// The house: which part may know which. Reads imports and manifests and fails
// on any arrow that ARCHITECTURE.md does not draw.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { root } from "../support/root.js";

/** Crates of this workspace that each crate may depend on. */
const CRATES: Record<string, readonly string[]> = {
  protocol: [],
  state: ["protocol"],
  oracle: ["protocol"],
  consensus: [],
  log: ["protocol"],
  node: ["protocol", "state", "consensus", "log"],
  engine: ["protocol", "state", "consensus", "log", "node", "transport"],
  binding: ["engine"],
  sim: ["protocol", "state", "consensus", "log", "node", "oracle"],
  load: ["protocol"],
  transport: ["protocol"],
};

/** What the tests of a crate may know beside what the crate does. */
const CRATES_OF_TESTS: Record<string, readonly string[]> = { state: ["oracle"] };

/** What the oracle may use of domp-protocol: tables, generated readers and plain structures. */
const OF_PROTOCOL =
  /^(?:ErrorCode|Outcome|frame::ItemKind|generated::wire|limits|results::(?:EntryValue|OwnedEntry|ResultValue|Results)|transaction::(?:Guard|Operation|ValueRef))$/;

/** Rooms under src/ that each room may import; "main" is src/main.ts. */
const ROOMS: Record<string, readonly string[]> = {
  protocol: [],
  client: ["protocol"],
  engine: ["protocol"],
  config: ["protocol"],
  policy: ["config", "protocol"],
  gateway: ["config", "policy", "protocol", "engine"],
  admin: ["config", "policy", "protocol", "engine", "gateway"],
  server: ["config", "policy", "protocol", "engine", "gateway", "admin"],
  cli: ["client", "config", "engine", "policy", "protocol", "server"],
  main: ["cli"],
};

/** Packages that only one room may import, for the reason ARCHITECTURE.md gives. */
const PACKAGES: Record<string, readonly string[]> = {
  "uWebSockets.js": ["gateway/transport.ts"],
  commander: ["cli/"],
  flatbuffers: ["protocol/"],
  pino: ["server/"],
  "smol-toml": ["config/"],
  ws: ["client/"],
};

function files(directory: string, ending: string): string[] {
  return readdirSync(path.join(root, directory), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(ending) && !file.includes("generated"))
    .map((file) => file.split(path.sep).join("/"));
}

function room(file: string): string {
  const first = file.split("/")[0] ?? "";
  return first.endsWith(".ts") ? first.slice(0, -3) : first;
}

function imports(text: string): string[] {
  const found = text.matchAll(
    /^(?:import|export)\s[^;]*?\bfrom\s+"([^"]+)"|^import\s+"([^"]+)"|\bimport\(\s*"([^"]+)"/gm,
  );
  return [...found].map((match) => match[1] ?? match[2] ?? match[3] ?? "");
}

test("every crate depends only on what stands below it", () => {
  const crates = readdirSync(path.join(root, "native"));
  assert.deepEqual(crates.sort(), Object.keys(CRATES).sort(), "the crates under native/");
  for (const crate of crates) {
    const manifest = readFileSync(path.join(root, "native", crate, "Cargo.toml"), "utf8");
    const [normal = "", ofTests = ""] = manifest.split(/^\[dev-dependencies\]/m);
    for (const match of normal.matchAll(/^domp-(\w+)\b/gm)) {
      const target = match[1] ?? "";
      assert.ok(CRATES[crate]?.includes(target), `${crate} must not depend on ${target}`);
    }
    for (const match of ofTests.matchAll(/^domp-(\w+)\b/gm)) {
      const target = match[1] ?? "";
      const may = [...(CRATES[crate] ?? []), ...(CRATES_OF_TESTS[crate] ?? [])];
      assert.ok(may.includes(target), `the tests of ${crate} must not know ${target}`);
    }
  }
});

test("the oracle judges by code of its own", () => {
  for (const file of files("native/oracle/src", ".rs")) {
    const text = readFileSync(path.join(root, "native/oracle/src", file), "utf8");
    const code = text.replaceAll(/^\s*\/\/.*$/gm, "");
    // `use` trees of this crate are one level deep: `domp_protocol::a::{b, c}`.
    for (const [, head = "", list] of code.matchAll(
      /\bdomp_protocol::((?:\w+::)*\w*)(?:\{([^}]*)\})?/g,
    )) {
      const names = list === undefined ? [""] : list.split(",");
      for (const name of names.map((name) => name.trim().replace(/ as \w+$/, ""))) {
        if (list !== undefined && name === "") continue;
        const used = head + name;
        assert.match(used, OF_PROTOCOL, `native/oracle/src/${file} uses domp_protocol::${used}`);
      }
    }
    assert.doesNotMatch(code, /\bparse_\w+|\bdomp_protocol\s*(?:as\b|::\s*\*)/, file);
  }
});

test("only consensus knows Raft and what it asks for", () => {
  for (const crate of Object.keys(CRATES)) {
    const manifest = readFileSync(path.join(root, "native", crate, "Cargo.toml"), "utf8");
    const found = manifest.match(/^(?:raft|protobuf|slog)\b/gm) ?? [];
    assert.equal(
      found.length,
      crate === "consensus" ? 3 : 0,
      `native/${crate}: ${found.join(", ")}`,
    );
  }
});

test("state, consensus, log and node touch no clock, thread, file, socket or randomness", () => {
  const forbidden =
    /\bstd::(?:fs|net|thread|process|env|os)\b|\bstd::time::(?:Instant|SystemTime)\b|\b(?:Instant|SystemTime)::now\b|\bthread_rng\b|\bgetrandom\b|\bRandomState\b|\bHash(?:Map|Set)::new\b/;
  for (const crate of ["state", "consensus", "log", "node", "protocol"]) {
    assert.ok(crate in CRATES, `there is no crate ${crate}`);
    for (const file of files(`native/${crate}/src`, ".rs")) {
      const text = readFileSync(path.join(root, "native", crate, "src", file), "utf8");
      const code = text
        .split("\n")
        .filter((line) => !line.trimStart().startsWith("//"))
        .join("\n");
      const hit = forbidden.exec(code);
      assert.equal(hit, null, `native/${crate}/src/${file} uses ${hit?.[0]}`);
    }
  }
});

test("only the crates that must use unsafe code", () => {
  const allowed = [
    "native/state/src/index/",
    "native/log/src/aligned",
    "native/engine/src/rings",
    "native/binding/src/",
  ];
  const used = new Set<string>();
  for (const crate of Object.keys(CRATES)) {
    for (const file of files(`native/${crate}/src`, ".rs")) {
      const name = `native/${crate}/src/${file}`;
      const text = readFileSync(path.join(root, name), "utf8");
      if (/\bunsafe\s*(?:\{|fn|impl)/.test(text)) {
        const place = allowed.find((place) => name.startsWith(place));
        assert.ok(place !== undefined, `${name} uses unsafe code`);
        used.add(place);
      }
    }
  }
  assert.deepEqual([...used].sort(), [...allowed].sort(), "a place that needs no unsafe code");
});

test("the tables name crates and rooms that are there", () => {
  const rooms = new Set(files("src", ".ts").map(room));
  assert.deepEqual([...rooms].sort(), Object.keys(ROOMS).sort(), "the rooms under src/");
  for (const table of [CRATES, ROOMS]) {
    for (const name of Object.values(table).flat()) assert.ok(name in table, `there is no ${name}`);
  }
});

test("every room imports only what stands below it", () => {
  for (const file of files("src", ".ts")) {
    const from = room(file);
    assert.ok(from in ROOMS, `src/${file}: no such room in the house`);
    for (const target of imports(readFileSync(path.join(root, "src", file), "utf8"))) {
      if (!target.startsWith(".")) continue;
      const resolved = path.posix.normalize(path.posix.join(path.posix.dirname(file), target));
      const to = room(resolved.replace(/\.js$/, ".ts"));
      if (to === from) continue;
      assert.ok(ROOMS[from]?.includes(to), `src/${file} must not import ${target}`);
    }
  }
});

test("a package is imported only where it belongs, and there it is", () => {
  const used = new Set<string>();
  for (const file of files("src", ".ts")) {
    for (const target of imports(readFileSync(path.join(root, "src", file), "utf8"))) {
      if (target.startsWith(".") || target.startsWith("node:")) continue;
      const places = PACKAGES[target];
      assert.ok(places !== undefined, `src/${file} imports the unknown package ${target}`);
      const place = places.find((place) => file.startsWith(place));
      assert.ok(place !== undefined, `src/${file} must not import ${target}`);
      used.add(`${target} in ${place}`);
    }
  }
  const named = Object.entries(PACKAGES).flatMap(([name, places]) =>
    places.map((place) => `${name} in ${place}`),
  );
  assert.deepEqual([...used].sort(), named.sort(), "a place that imports no such package");
});

test("the browser's side of the SDK uses nothing of Node", () => {
  for (const file of [...files("src/client", ".ts").map((name) => `client/${name}`)]) {
    if (file === "client/node.ts") continue;
    const found = imports(readFileSync(path.join(root, "src", file), "utf8"));
    assert.deepEqual(
      found.filter((target) => target.startsWith("node:") || target === "ws"),
      [],
    );
  }
});

test("production dependencies are exactly the ones that were decided", () => {
  const manifest = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")) as {
    dependencies: Record<string, string>;
  };
  assert.deepEqual(Object.keys(manifest.dependencies).sort(), Object.keys(PACKAGES).sort());
});
