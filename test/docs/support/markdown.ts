// What the documentation's tests read out of it: fences, tables, links, headings.

import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { root } from "../../support/root.js";

/** Every page a user or contributor reads, from the root of the repository. */
export const PAGES: readonly string[] = [
  ...readdirSync(root).filter((name) => name.endsWith(".md")),
  ...readdirSync(path.join(root, "docs")).map((name) => `docs/${name}`),
  "bench/README.md",
].filter((page) => page.endsWith(".md"));

export function readPage(page: string): string {
  return readFileSync(path.join(root, page), "utf8");
}

/** The contents of the fences in this language. */
export function fences(text: string, language: string): string[] {
  const found = text.matchAll(/^```(\w*)\n(.*?)^```$/gms);
  return [...found].filter((match) => match[1] === language).map((match) => match[2] ?? "");
}

/** What stands between `<!-- name:begin -->` and `<!-- name:end -->`. */
export function marked(text: string, name: string): string {
  const begin = text.indexOf(`<!-- ${name}:begin -->`);
  const end = text.indexOf(`<!-- ${name}:end -->`);
  if (begin < 0 || end < begin) throw new Error(`there is no part marked "${name}"`);
  return text.slice(begin, end);
}

/** The cells of every row of every table. */
export function rows(text: string): string[][] {
  return text
    .split("\n")
    .filter((line) => line.startsWith("|"))
    .map((line) => line.split("|").slice(1, -1))
    .map((cells) => cells.map((cell) => cell.trim()));
}

/** All that stands in backticks. */
export function names(text: string): string[] {
  return [...text.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? "");
}

/** Where the links of a page lead; fences and code hold none. */
export function links(text: string): string[] {
  const prose = text.replaceAll(/^```.*?^```$/gms, "");
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map((match) => match[1] ?? "");
}

/** The anchors of a page's headings. */
export function anchors(text: string): ReadonlySet<string> {
  const headings = text.replaceAll(/^```.*?^```$/gms, "").matchAll(/^#+ +(.*)$/gm);
  return new Set([...headings].map((match) => anchorOf(match[1] ?? "")));
}

function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, "")
    .trim()
    .replaceAll(" ", "-");
}
