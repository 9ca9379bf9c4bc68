/** HTTP requests: who may come in, what is meant, and the bounds that hold for all of them. */

import type { Authenticator, Doors } from "../../policy/index.js";
import type { Counters } from "../counters.js";
import type { Seam, Tenant } from "../seam.js";
import type { Slots } from "../slots.js";
import type { Sockets } from "../sockets.js";
import { StatelessDoor } from "../stateless.js";
import type { TurnedAway } from "../turned-away.js";
import { corsHeaders, preflightHeaders } from "./cors.js";
import type { Exchange, Failure } from "./exchange.js";
import { getKey } from "./keys.js";
import { type Route, routeOf } from "./routes.js";
import { SpaceNames } from "./spaces.js";
import { postTransaction } from "./transactions.js";

export interface HttpOptions {
  readonly doors: Doors;
  readonly authenticator: Authenticator;
  readonly httpRequestsMax: number;
  readonly requestTimeoutMs: number;
}

/** What the door shares with that of the WebSockets. */
export interface HttpParts {
  readonly seam: Seam;
  readonly slots: Slots<Tenant>;
  readonly counters: Counters;
  readonly sockets: Sockets;
  readonly turnedAway: TurnedAway;
}

/** What the handlers of requests work with. */
export interface HttpContext {
  readonly door: StatelessDoor;
  readonly spaces: SpaceNames;
  readonly timeoutMs: number;
}

export class HttpDoor {
  readonly #options: HttpOptions;
  readonly #counters: Counters;
  readonly #sockets: Sockets;
  readonly #turnedAway: TurnedAway;
  readonly #context: HttpContext;
  readonly #exchanges = new Set<Exchange>();
  #draining = false;

  constructor(parts: HttpParts, options: HttpOptions) {
    const door = new StatelessDoor(parts.seam, parts.slots, parts.counters);
    this.#options = options;
    this.#counters = parts.counters;
    this.#sockets = parts.sockets;
    this.#turnedAway = parts.turnedAway;
    this.#context = {
      door,
      spaces: new SpaceNames(door, options.requestTimeoutMs),
      timeoutMs: options.requestTimeoutMs,
    };
  }

  /** Requests that are being answered. */
  get inProgress(): number {
    return this.#exchanges.size;
  }

  /** Turns new requests away from now on. */
  drain(): void {
    this.#draining = true;
  }

  /** Ends all that is in progress. */
  fail(failure: Failure): void {
    for (const exchange of [...this.#exchanges]) exchange.fail(failure, true);
  }

  /** Turns away who may not come in, for a WebSocket or a request; true if so. */
  refusesEntry(exchange: Exchange): boolean {
    const refusal = this.#judgeEntry(exchange);
    if (refusal === undefined) return false;
    this.#counters.refused(refusal.code);
    this.#turnedAway.note(refusal.code, refusal.message, exchange.address);
    if (exchange.request.problem === undefined) exchange.fail(refusal, true);
    // What stands behind it may be part of it: while it is unanswered the transport takes nothing
    // more from the connection, and closes it where something is there already.
    else setImmediate(() => exchange.fail(refusal, true));
    return true;
  }

  #judgeEntry({ request }: Exchange): (Failure & { readonly message: string }) | undefined {
    const { host, origin, problem } = request;
    const { doors } = this.#options;
    if (problem !== undefined) return { code: "invalid_request", message: problem };
    if (!doors.admitsHost(host)) {
      const message = "this server is not addressed by that name; see clients.allowed_hosts";
      return { code: "forbidden", message, status: 421 };
    }
    if (!doors.admitsOrigin(origin, host)) {
      const message = "pages of this origin may not connect; see clients.allowed_origins";
      return { code: "forbidden", message };
    }
    return undefined;
  }

  onRequest(exchange: Exchange): void {
    this.#counters.httpRequests += 1;
    if (this.refusesEntry(exchange)) return;
    const { origin, path } = exchange.request;
    exchange.addHeaders(corsHeaders(origin));
    const route = routeOf(path);
    const problem = judgeRoute(route, exchange.request.method);
    if (problem !== undefined) exchange.fail(problem);
    else if (exchange.request.method === "OPTIONS") {
      exchange.respond(204, preflightHeaders(methodsOf(route)), "");
    } else this.#admit(exchange, route);
  }

  #admit(exchange: Exchange, route: Route): void {
    if (this.#draining) {
      this.#counters.refused("shutting_down");
      exchange.fail({ code: "shutting_down" }, true);
      return;
    }
    if (this.#sockets.areTooMany) {
      const code = "too_many_connections";
      const message = this.#sockets.problem;
      this.#counters.refused(code);
      this.#turnedAway.note(code, message, exchange.address);
      exchange.fail({ code, message }, true);
      return;
    }
    const principal = this.#options.authenticator.authenticateHeader(
      exchange.request.authorization,
    );
    if (principal === undefined) {
      this.#counters.refused("unauthenticated");
      this.#turnedAway.note("unauthenticated", "no valid token was presented", exchange.address);
      exchange.fail({ code: "unauthenticated" });
      return;
    }
    if (this.#exchanges.size >= this.#options.httpRequestsMax) {
      this.#counters.refused("overloaded");
      const message = "as many requests are in progress as may be";
      exchange.fail({ code: "overloaded", message });
      return;
    }
    this.#exchanges.add(exchange);
    exchange.onOver(() => this.#exchanges.delete(exchange));
    const handled =
      route.kind === "key"
        ? getKey(this.#context, exchange, principal, route)
        : postTransaction(this.#context, exchange, principal);
    handled.catch((error: unknown) => {
      exchange.fail({ code: "internal", message: (error as Error).message });
    });
  }
}

function methodsOf(route: Route): string {
  return route.kind === "key" ? "GET, HEAD" : "POST";
}

/** Why there is nothing to be had there, or not in this way. */
function judgeRoute(route: Route, method: string): Failure | undefined {
  switch (route.kind) {
    case "malformed":
      return { code: "invalid_request", message: route.message };
    case "unknown":
      return {
        code: "not_found",
        message:
          "here are POST /v1/transactions, GET /v1/spaces/{space}/keys/{key}, and WebSockets at /v1",
      };
    case "socket":
      return {
        code: "invalid_request",
        message: "this is where WebSockets connect",
        status: 426,
        headers: [["Upgrade", "websocket"]],
      };
    default: {
      const allowed = methodsOf(route);
      return [...allowed.split(", "), "OPTIONS"].includes(method)
        ? undefined
        : {
            code: "invalid_request",
            message: `only ${allowed} here`,
            status: 405,
            headers: [["Allow", allowed]],
          };
    }
  }
}
