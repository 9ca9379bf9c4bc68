// operations.json -> the tables of docs/json-transactions.md.

import { replaceRegion } from "../text.mjs";
import { inJson } from "./table.mjs";

const ANSWERS = {
  entry: '`{"entry": {…}}`, or `{"entry": null}`',
  entries: '`{"entries": […], "more": …}`',
  count: '`{"count": …}`',
  number: '`{"number": …}`',
  nothing: "`{}`",
};

/** The page with the tables in it. */
export function pageWithTables(page, { guards, operations }) {
  const takes = ({ fields }) => {
    return fields.map(({ name, optional }) => `\`${name}\`${optional ? "?" : ""}`).join(", ");
  };
  const table = (head, rows) => {
    const lines = [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`);
    return `\n${lines.join("\n").replaceAll("| --- ", "|---").replaceAll("--- |", "---|")}\n\n`;
  };
  const guardRows = guards.filter(inJson).map((row) => [`\`${row.name}\``, takes(row), row.text]);
  const operationRows = operations.filter(inJson).map((row) => {
    const { form, text } = row.answer;
    const answer = `${ANSWERS[form]}${text === undefined ? "" : `: ${text}`}`;
    return [`\`${row.name}\``, takes(row), row.text, answer];
  });
  const comment = ["<!-- ", " -->"];
  const withGuards = replaceRegion(
    page,
    "guards",
    table(["guard", "fields", "holds if"], guardRows),
    ...comment,
  );
  return replaceRegion(
    withGuards,
    "operations",
    table(["operation", "fields", "what it does", "result"], operationRows),
    ...comment,
  );
}
