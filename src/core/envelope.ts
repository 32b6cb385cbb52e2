/**
 * A message as it travels: the attributes of a CloudEvents 1.0 event as text, and the body's bytes.
 *
 * Adapters map it to their broker's headers with `contract/wire.ts` and change nothing in it. All
 * fields are always present, so that the engine keeps one shape for every message.
 */
export interface WireMessage {
  /** Unique per source; the same through every retry and redelivery. */
  readonly id: string
  /** Who published: `/service-name`, or any URI reference of a foreign program. */
  readonly source: string
  /** The contract's type name. */
  readonly type: string
  /** Version of the data's schema, from 1. */
  readonly version: number
  /** RFC 3339 text of when the publisher made the message. Untrusted: for display only. */
  readonly time: string
  /** Media type of the body; `application/json` for every message of this library. */
  readonly contentType: string
  /** Ordering key. */
  readonly key: string | undefined
  /** Common to all messages of one flow; undefined for the first one of a flow, whose own id it is. */
  readonly correlationId: string | undefined
  /** Id of the message whose handler published this one. */
  readonly causationId: string | undefined
  /** RFC 3339 instant after which nobody needs the outcome; the same through every attempt. */
  readonly deadline: string | undefined
  readonly tenant: string | undefined
  /** W3C trace context. */
  readonly traceparent: string | undefined
  readonly tracestate: string | undefined
  /** Handlers in a row that led to this message: 0 for a message published outside any handler. */
  readonly hops: number
  /** Light-plane address to send the answer of an asked command to. */
  readonly replyTo: string | undefined
  /** What an answer says: `error.<name>` for a declared error, `failed` for every other; undefined for success and for messages that are no answers. */
  readonly outcome: string | undefined
  /** The user's own headers. */
  readonly headers: Readonly<Record<string, string>> | undefined
  readonly body: Uint8Array
  /** Why the message cannot be a message of ours, where the adapter could not read it; else undefined. */
  readonly defect: string | undefined
}

/** A message as handlers see it: attributes, and data of the contract's type. */
export interface Message<T extends string = string, D = unknown> {
  readonly id: string
  readonly type: T
  /** Version that the publisher used; the data is already lifted to the handler's version. */
  readonly version: number
  readonly source: string
  /** RFC 3339 text; the publisher's clock. */
  readonly time: string
  readonly key: string | undefined
  readonly correlationId: string
  readonly causationId: string | undefined
  readonly tenant: string | undefined
  readonly headers: Readonly<Record<string, string>>
  readonly data: D
}
