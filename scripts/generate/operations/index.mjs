// operations.json -> everything that depends on which guards and operations there are.

import { rustGenerated, typescriptGenerated } from "../text.mjs";
import { pageWithTables } from "./docs.mjs";
import { rustOperations } from "./rust.mjs";
import { typescriptForms, typescriptOperations } from "./typescript.mjs";

export { schemaWithKinds } from "./schema.mjs";
export { readOperations } from "./table.mjs";

export const PAGE = "docs/json-transactions.md";

/** Relative path -> text; `page` is the page on JSON as it stands. */
export function generateOperations(kinds, page) {
  return new Map([
    [`${rustGenerated}/operations.rs`, rustOperations(kinds)],
    [`${typescriptGenerated}/operations.ts`, typescriptOperations(kinds)],
    [`${typescriptGenerated}/forms.ts`, typescriptForms(kinds)],
    [PAGE, pageWithTables(page, kinds)],
  ]);
}
