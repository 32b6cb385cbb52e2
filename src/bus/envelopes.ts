import type { EncodedData } from '../contract/contract.ts'
import { hasControls, idProblem, isTenant } from '../contract/names.ts'
import { CONTENT_TYPE, checkHeaders } from '../contract/wire.ts'
import { type Clock, instantMs, instantText } from '../core/clock.ts'
import type { Message, WireMessage } from '../core/envelope.ts'
import { TrunklineError } from '../core/errors.ts'
import type { Random } from '../core/random.ts'
import { type Scope, currentScope } from './scope.ts'

/** What every way of sending a message accepts. */
export interface SendOptions {
  /** Message id; a fresh UUIDv7 by default. Give your own to make a repeated publish recognisable. At most 255 characters. */
  readonly id?: string
  /** Default: that of the message being handled, else the message's own id. */
  readonly correlationId?: string
  /** Default: the id of the message being handled. */
  readonly causationId?: string
  /** `[a-z0-9-]`, at most 63 characters. Default: that of the message being handled. */
  readonly tenant?: string
  /** Your own headers: lower-case names, printable values. Names that steer a broker are refused. */
  readonly headers?: Readonly<Record<string, string>>
  /** W3C trace context; default: that of the message being handled. */
  readonly traceparent?: string
}

const TRACEPARENT = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/

/** The last millisecond that RFC 3339 can write (B43). */
const INSTANT_MAX_MS = 253_402_300_799_999

/** Makes the messages of one bus. */
export class Envelopes {
  readonly #clock: Clock
  readonly #random: Random
  /** What every message of the bus says where it comes from. */
  readonly source: string
  #timeMs = -1
  #time = ''
  #deadlineMs = Number.NaN
  #deadline = ''

  constructor(clock: Clock, random: Random, service: string) {
    this.#clock = clock
    this.#random = random
    this.source = `/${service}`
  }

  /**
   * Puts encoded data into an envelope. Ids, tenant and trace come from the options, else from the
   * handler that is running.
   *
   * @throws `contract.attribute_invalid`, `contract.header_refused`.
   */
  make(contract: { readonly type: string; readonly version: number }, data: EncodedData, options: SendOptions | undefined, more?: EnvelopeExtras): WireMessage {
    const scope = currentScope()
    const nowMs = this.#clock.nowMs()
    const id = options?.id ?? this.#random.id(nowMs)
    if (options !== undefined) checkOptions(options)
    return {
      id,
      source: this.source,
      type: contract.type,
      version: contract.version,
      time: more?.isLight === true ? '' : this.#timeText(nowMs),
      contentType: CONTENT_TYPE,
      key: data.key,
      correlationId: options?.correlationId ?? scope?.correlationId,
      causationId: options?.causationId ?? scope?.causationId,
      deadline: more?.deadlineAtMs === undefined ? undefined : this.#deadlineText(more.deadlineAtMs),
      tenant: options?.tenant ?? scope?.tenant,
      traceparent: options?.traceparent ?? scope?.traceparent,
      tracestate: options?.traceparent === undefined ? scope?.tracestate : undefined,
      hops: scope === undefined ? 0 : scope.hops + 1,
      replyTo: more?.replyTo,
      outcome: undefined,
      // A frozen copy: an adapter may hold it after this call, and in one process every group gets this very object.
      headers: options?.headers === undefined ? undefined : Object.freeze({ ...options.headers }),
      body: data.body,
      defect: undefined,
    }
  }

  /** An id for a message that is made elsewhere. */
  freshId(): string {
    return this.#random.id(this.#clock.nowMs())
  }

  #deadlineText(atMs: number): string {
    if (atMs !== this.#deadlineMs) {
      if (!(atMs >= 0 && atMs <= INSTANT_MAX_MS)) check('deadline', `${atMs} is not an instant from 1970 to 9999 in milliseconds`)
      this.#deadlineMs = atMs
      this.#deadline = instantText(atMs)
    }
    return this.#deadline
  }

  /** The same millisecond gives the same text, so most messages share one. */
  #timeText(nowMs: number): string {
    if (nowMs !== this.#timeMs) {
      this.#timeMs = nowMs
      this.#time = instantText(nowMs)
    }
    return this.#time
  }
}

/** What the bus itself adds. */
export interface EnvelopeExtras {
  readonly deadlineAtMs?: number | undefined
  readonly replyTo?: string | undefined
  /** What is not stored is handled at once or never: it needs no time stamp. */
  readonly isLight?: boolean
}

function checkOptions(options: SendOptions): void {
  if (options.id !== undefined) check('id', idProblem(options.id))
  if (options.correlationId !== undefined) check('correlationId', idProblem(options.correlationId))
  if (options.causationId !== undefined) check('causationId', idProblem(options.causationId))
  if (options.tenant !== undefined && !isTenant(options.tenant)) check('tenant', 'it is not 1 to 63 characters of a-z, 0-9 and dashes')
  if (options.traceparent !== undefined && !TRACEPARENT.test(options.traceparent)) check('traceparent', 'it is not a W3C traceparent')
  if (options.headers !== undefined) checkHeaders(options.headers)
}

function check(attribute: string, problem: string | undefined): void {
  if (problem !== undefined) throw new TrunklineError('contract.attribute_invalid', { attribute, problem })
}

/** What a message hands on to those published while it is handled. Foreign text that does not fit is dropped. */
export function scopeOf(message: WireMessage): Scope {
  const { correlationId, traceparent, tracestate } = message
  const hasTrace = traceparent !== undefined && TRACEPARENT.test(traceparent)
  return {
    correlationId: correlationId !== undefined && idProblem(correlationId) === undefined ? correlationId : message.id,
    causationId: message.id,
    deadlineAtMs: instantMs(message.deadline),
    tenant: message.tenant,
    traceparent: hasTrace ? traceparent : undefined,
    tracestate: hasTrace && tracestate !== undefined && tracestate.length <= 512 && !hasControls(tracestate) ? tracestate : undefined,
    hops: message.hops,
  }
}

const NO_HEADERS: Readonly<Record<string, string>> = Object.freeze({})

/** The message as a handler sees it. */
export function messageOf(wire: WireMessage, data: unknown, scope: Scope): Message {
  return {
    id: wire.id,
    type: wire.type,
    version: wire.version,
    source: wire.source,
    time: wire.time,
    key: wire.key,
    correlationId: scope.correlationId,
    causationId: wire.causationId,
    tenant: wire.tenant,
    headers: wire.headers ?? NO_HEADERS,
    data,
  }
}
