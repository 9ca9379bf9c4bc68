import assert from "node:assert/strict";
import path from "node:path";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { root } from "../support/root.js";

const GZIPPED_BYTES_MAX = 20_000;

test("the SDK for browsers is at most 20 KB, minified and gzipped", async (context) => {
  const built = await build({
    entryPoints: [path.join(root, "src/client/index.ts")],
    bundle: true,
    minify: true,
    format: "esm",
    platform: "browser",
    target: "es2022",
    write: false,
  });
  const [file] = built.outputFiles;
  assert.ok(file !== undefined);
  const gzippedBytes = gzipSync(file.contents, { level: 9 }).length;
  context.diagnostic(`domp/client: ${file.contents.length} bytes, ${gzippedBytes} gzipped`);
  assert.ok(gzippedBytes <= GZIPPED_BYTES_MAX, `${gzippedBytes} bytes`);
});
