/** Did you mean? */

/**
 * Edits (insert, remove, replace, swap of neighbours) that turn `a` into `b`: optimal string
 * alignment, so that `prot` is one step from `port`.
 */
export function editDistance(a: string, b: string): number {
  let beforePrevious: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= b.length; column += 1) {
      const same = a[row - 1] === b[column - 1];
      let cost = Math.min(
        at(previous, column) + 1,
        at(current, column - 1) + 1,
        at(previous, column - 1) + (same ? 0 : 1),
      );
      const swapped =
        row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      if (swapped) cost = Math.min(cost, at(beforePrevious, column - 2) + 1);
      current.push(cost);
    }
    beforePrevious = previous;
    previous = current;
  }
  return at(previous, b.length);
}

function at(row: readonly number[], column: number): number {
  return row[column] ?? Number.POSITIVE_INFINITY;
}

/** Longer names are no misspellings, and must not cost their square. */
const NAME_LENGTH_MAX = 64;

/**
 * The known name that `name` most likely stands for: the fewest edits, at most a third of its
 * length (two for short ones), or the same last part in another section. Undefined if none is near.
 */
export function nearestName(name: string, known: Iterable<string>): string | undefined {
  if (name.length > NAME_LENGTH_MAX) return undefined;
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(name.length / 3)) + 1;
  const wanted = name.toLowerCase().replaceAll("-", "_");
  for (const candidate of known) {
    const distance = Math.min(
      editDistance(wanted, candidate.toLowerCase()),
      // A right key in the wrong section (or in none) is one step away, whatever the section's name.
      lastPart(wanted) === lastPart(candidate.toLowerCase()) ? 1 : Number.POSITIVE_INFINITY,
    );
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

function lastPart(name: string): string {
  return name.slice(name.lastIndexOf(".") + 1);
}
