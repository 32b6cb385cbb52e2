import type { Bus } from '../bus/bus.ts'
import type { AskOptions } from '../bus/options.ts'
import { decodeBody } from '../contract/body.ts'
import type { AnyCommand, AnyQuery, OpenedReply } from '../contract/contract.ts'
import { TrunklineError, isTrunklineError } from '../core/errors.ts'
import { hashTag, tagOf } from './etag.ts'
import { PRINCIPAL_HEADER, type Principal } from './principal.ts'
import type { RequestContext } from './request-context.ts'
import type { CallPlan } from './route-plan.ts'

/** One request, ready for the bus. */
export interface Call {
  readonly plan: CallPlan
  readonly data: unknown
  readonly context: RequestContext
  readonly principal: Principal | undefined
  /** Id of the message: derived where the request can be repeated, else fresh. */
  readonly id: string
  /** True where the caller has made it recognisable, so that it may be done twice. */
  readonly isRepeatable: boolean
  readonly timeoutMs: number
  readonly signal: AbortSignal
}

/** What a call came to, before it is a response. */
export interface Answer {
  readonly status: number
  /** JSON, or nothing where there is nothing to say. */
  readonly body: Uint8Array | undefined
  readonly etag: string | undefined
}

const ACCEPTED_TEXT = (id: string): Uint8Array => Buffer.from(JSON.stringify({ id }))

/**
 * Asks or sends.
 *
 * @throws what the bus throws; an answer that cannot be read is `bus.answer_failed`.
 */
export async function runCall(bus: Bus, call: Call): Promise<Answer> {
  const { plan, context, id } = call
  const data = liftedData(call)
  const shared = { id, correlationId: context.correlationId, ...envelopeOf(call) }
  if (plan.answer === 'accepted') {
    // The routes were made of commands; their kind was checked when the gateway was.
    await bus.send(plan.target as unknown as AnyCommand, data, { ...shared, timeoutMs: call.timeoutMs })
    return { status: plan.successStatus, body: ACCEPTED_TEXT(id), etag: undefined }
  }
  return await asked(bus, call, data, { ...shared, ...balanceOf(call), timeoutMs: call.timeoutMs, signal: call.signal })
}

async function asked(bus: Bus, { plan }: Call, data: unknown, options: AskOptions): Promise<Answer> {
  const { value, body } = await opened(plan, askOpened(bus, plan, data, options))
  const { contract, target, successStatus, options: { etag, downgrade } } = plan
  if (!contract.hasReply) return { status: successStatus, body: undefined, etag: undefined }
  const bytes = contract === target && downgrade === undefined ? body : contract.encodeReply(downgrade === undefined ? value : downgrade(value))
  const tag = etag === undefined ? undefined : etag === 'hash' ? hashTag(bytes) : tagOf(etag(value))
  return { status: successStatus, body: bytes, etag: tag }
}

/** As `bus.ask`, with the bytes beside the value. */
function askOpened(bus: Bus, { target }: CallPlan, data: unknown, options: AskOptions): Promise<OpenedReply> {
  // `callPlan` lets only queries and commands through, and the answers of what is opened are of this shape.
  return bus.ask(target.opened() as unknown as AnyQuery, data, options) as Promise<OpenedReply>
}

/** An answer that no program of ours would write is the service's fault, and not that of the request. */
async function opened<T>({ target }: CallPlan, asking: Promise<T>): Promise<T> {
  try {
    return await asking
  } catch (error) {
    if (!isTrunklineError(error, 'contract.body_malformed')) throw error
    throw new TrunklineError('bus.answer_failed', { type: target.type, code: 'contract.payload_invalid', problem: error.details.problem }, { cause: error })
  }
}

/** Data of an older version, validated as such, and lifted to the version that the service works with. */
function liftedData({ plan, data }: Call): unknown {
  const { contract, target } = plan
  if (contract === target) return data
  return target.lift(contract.version, decodeBody(contract.type, contract.encode(data).body))
}

function balanceOf({ plan: { options: { balance } }, isRepeatable }: Call): Pick<AskOptions, 'balance' | 'isIdempotent'> {
  return balance === undefined ? {} : { balance, isIdempotent: isRepeatable }
}

function envelopeOf({ context, principal }: Call): Pick<AskOptions, 'traceparent' | 'tenant' | 'headers'> {
  return {
    ...(context.traceparent === undefined ? {} : { traceparent: context.traceparent }),
    ...(principal === undefined ? {} : { headers: { [PRINCIPAL_HEADER]: principal.id } }),
    ...(principal?.tenant === undefined ? {} : { tenant: principal.tenant }),
  }
}
