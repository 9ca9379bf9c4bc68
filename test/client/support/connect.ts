import { Client } from "../../../src/client/client.js";
import { DompError } from "../../../src/client/errors.js";
import { type ConnectOptions, resolveOptions } from "../../../src/client/options.js";
import { FakeEnvironment } from "./environment.js";
import { Peer } from "./peer.js";

/** A client, the peer it talks to, and the clock both live by. */
export interface World {
  readonly client: Client;
  readonly peer: Peer;
  readonly environment: FakeEnvironment;
}

/** Where the peer is. */
const URLS: readonly string[] = ["ws://peer.test/"];

/** A client in a world of its own, not connected yet; at all `urls` is the same peer. */
export function newWorld(
  options: ConnectOptions = {},
  peer = new Peer(),
  urls = URLS,
  dice: readonly number[] = [],
): World {
  const environment = new FakeEnvironment();
  if (dice.length > 0) environment.dice = [...dice];
  const resolved = resolveOptions(options, peer.transport, environment);
  return { client: new Client(urls, resolved), peer, environment };
}

/** A client that is connected. */
export async function connected(
  options: ConnectOptions = {},
  peer = new Peer(),
  urls = URLS,
): Promise<World> {
  const world = newWorld(options, peer, urls);
  const opened = world.client.open(options.signal);
  await world.environment.tick();
  await opened;
  return world;
}

/** What a promise came to; a promise that never settles shows as `pending`. */
export interface Watched<T> {
  state: "pending" | "resolved" | "rejected";
  value?: T;
  error?: unknown;
}

/** Looks at a promise without waiting for it. */
export function watch<T>(promise: Promise<T>): Watched<T> {
  const watched: Watched<T> = { state: "pending" };
  promise.then(
    (value) => {
      watched.state = "resolved";
      watched.value = value;
    },
    (error: unknown) => {
      watched.state = "rejected";
      watched.error = error;
    },
  );
  return watched;
}

/** The DompError that a watched promise was rejected with. */
export function errorOf(watched: Watched<unknown>): DompError {
  if (watched.state !== "rejected") throw new Error(`the promise is ${watched.state}`);
  if (!(watched.error instanceof DompError)) throw watched.error;
  return watched.error;
}
