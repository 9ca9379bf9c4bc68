const encoder = new TextEncoder();

/** Up to here a loop is faster than the call into the runtime. */
const LOOP_CHARACTERS_MAX = 96;

/** The UTF-8 of a text, in memory of its own. Most keys and many values are short and ASCII. */
export function encodeText(text: string): Uint8Array {
  const { length } = text;
  if (length > LOOP_CHARACTERS_MAX) return encoder.encode(text);
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i += 1) {
    const unit = text.charCodeAt(i);
    if (unit > 0x7f) return encoder.encode(text);
    bytes[i] = unit;
  }
  return bytes;
}
