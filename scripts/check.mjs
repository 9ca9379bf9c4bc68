// `npm run check`: form, lints, types, licences, generated code. Runs all, then says what failed.
import { has, install, need, run } from "./lib.mjs";

need(await install(), "installing packages");
const steps = [
  ["rustfmt", "cargo", ["fmt", "--all", "--check"]],
  [
    "clippy",
    "cargo",
    ["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"],
  ],
  ["Biome", "npx", ["--no-install", "biome", "ci", "--error-on-warnings"]],
  ["TypeScript", "npx", ["--no-install", "tsc", "--noEmit"]],
  ["generated code", "node", ["scripts/generate.mjs", "--check"]],
];
if (has("cargo", ["deny", "--version"])) {
  const deny = ["deny", "--offline", "check", "licenses", "bans", "sources"];
  steps.push(["cargo deny", "cargo", deny]);
} else if (process.env.CI) {
  console.error("✗ cargo deny is not installed");
  process.exit(1);
} else {
  console.error("cargo deny: skipped: needs cargo-deny (cargo install cargo-deny --locked)");
}

const failed = [];
for (const [name, program, args] of steps) {
  console.error(`• ${name}`);
  if ((await run(program, args)) !== 0) failed.push(name);
}
if (failed.length > 0) {
  console.error(`✗ ${failed.join(", ")}`);
  process.exit(1);
}
console.error("all checks passed");
