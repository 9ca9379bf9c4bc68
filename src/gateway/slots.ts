/**
 * Addresses of what the engine answers to: a slot and a generation. A slot is used again; the
 * generation tells its tenants apart, so that no answer reaches whoever moved in later.
 */

export interface Address {
  readonly slot: number;
  readonly generation: number;
}

/** The generation that ends a slot's use: a slot that wrapped around could be mistaken. */
const GENERATION_MAX = 0xffff_ffff;

export class Slots<Tenant extends object> {
  readonly #tenants: (Tenant | undefined)[] = [];
  readonly #generations: number[] = [];
  /** Last in, first out: few slots stay in use, and they stay warm. */
  readonly #free: number[] = [];
  readonly #generationMax: number;
  #size = 0;

  constructor(generationMax: number = GENERATION_MAX) {
    this.#generationMax = generationMax;
  }

  /** How many tenants there are. */
  get size(): number {
    return this.#size;
  }

  take(tenant: Tenant): Address {
    const slot = this.#free.pop() ?? this.#tenants.length;
    const generation = (this.#generations[slot] ?? 0) + 1;
    this.#tenants[slot] = tenant;
    this.#generations[slot] = generation;
    this.#size += 1;
    return { slot, generation };
  }

  /** The tenant at an address, or undefined if it moved out, whoever lives there now. */
  at(slot: number, generation: number): Tenant | undefined {
    return this.#generations[slot] === generation ? this.#tenants[slot] : undefined;
  }

  /** Moves the tenant of this very address out; a second time does nothing. */
  release({ slot, generation }: Address): void {
    if (this.at(slot, generation) === undefined) return;
    this.#tenants[slot] = undefined;
    this.#size -= 1;
    if (generation < this.#generationMax) this.#free.push(slot);
  }
}
