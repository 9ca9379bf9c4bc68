// operations.json -> the enums of kinds in wire.fbs.

import { replaceRegion } from "../text.mjs";

/** wire.fbs with the kinds of the table in it. */
export function schemaWithKinds(source, { guards, operations }) {
  const region = (name, rows) => {
    const width = Math.max(...rows.map((row) => numbered(row).length));
    const lines = ["  none = 0,\n", ...rows.map((row) => line(row, width))];
    return `enum ${name} : ubyte {\n${lines.join("")}}\n`;
  };
  const withGuards = replaceRegion(source, "guards", region("GuardKind", guards), "// ");
  return replaceRegion(withGuards, "operations", region("OperationKind", operations), "// ");
}

const numbered = ({ name, number }) => `  ${name} = ${number},`;

function line(row, width) {
  const { status, fields, text } = row;
  const takes = status === "reserved" ? "reserved" : fields.map(place).join(", ");
  return `${numbered(row).padEnd(width)}  // ${takes}: ${text}\n`;
}

/** The field a value travels in, and what it is called there and outside. */
function place({ name, form, wire, bit }) {
  if (form === "value") return "value or number";
  if (form === "flag") return `bit ${bit} of flags (${name})`;
  return wire.name === name ? name : `${wire.name} (${name})`;
}
