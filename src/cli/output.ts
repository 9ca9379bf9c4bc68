import { Option } from "commander";

/** How a command shows what it found. */
export type OutputForm = "table" | "json";

/** `-o table|json` */
export function outputOption(): Option {
  return new Option("-o, --output <form>", "how to print")
    .choices(["table", "json"])
    .default("table");
}

/** Writes to standard output; resolves when it has gone out, so that pipes may be slow. */
export function print(text: string | Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(text, (error) => {
      if (error === null || error === undefined) resolve();
      else reject(error);
    });
  });
}

/** One value as a line of JSON. */
export function printJson(value: unknown): Promise<void> {
  return print(`${JSON.stringify(value)}\n`);
}

/** Rows under headings, in columns; the last column is not padded. */
export function printTable(
  headings: readonly string[],
  rows: readonly (readonly string[])[],
): Promise<void> {
  return print(renderTable(headings, rows));
}

export function renderTable(
  headings: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const all = [headings.map((heading) => heading.toUpperCase()), ...rows];
  const widths = headings.map((_, column) =>
    Math.max(...all.map((row) => width(row[column] ?? ""))),
  );
  const lines = all.map((row) =>
    headings
      .map((_, column) => {
        const cell = row[column] ?? "";
        const isLast = column === headings.length - 1;
        return isLast ? cell : cell + " ".repeat((widths[column] ?? 0) - width(cell));
      })
      .join("  ")
      .trimEnd(),
  );
  return `${lines.join("\n")}\n`;
}

/** Characters, not UTF-16 units. */
function width(text: string): number {
  return [...text].length;
}
