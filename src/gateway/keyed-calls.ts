import { TrunklineError, isTrunklineError } from '../core/errors.ts'
import type { Logger } from '../core/logger.ts'
import { derivedId } from '../core/random.ts'
import type { Principal } from './principal.ts'
import { type IdempotencyKeys, type KeptResponse, REPLAYED_HEADER, fingerprintOfData, keyOf } from './idempotency.ts'
import type { CallPlan } from './route-plan.ts'

/** A request with an idempotency key. */
export interface KeyedRequest {
  /** As the caller wrote it. */
  readonly key: string
  /** Id of its message, and of what is remembered of it: derived from caller, route and key, so that nobody gets the answers of others. */
  readonly id: string
  readonly fingerprint: string
}

/** How a request that was begun ended: with a response to keep, or with one that says that the outcome is not known. */
export interface Ended {
  readonly response: Response
  readonly isKnown: boolean
}

/**
 * The key of a request; undefined where it has none or its route takes none.
 *
 * @throws `gateway.key_missing`, `gateway.request_malformed`.
 */
export function keyedRequest(plan: CallPlan, headers: Headers, principal: Principal | undefined, data: unknown): KeyedRequest | undefined {
  const { idempotencyKey = 'optional' } = plan.options
  if (plan.contract.kind !== 'command' || idempotencyKey === 'ignored') return undefined
  const key = keyOf(headers)
  if (key === undefined) {
    if (idempotencyKey === 'required') throw new TrunklineError('gateway.key_missing', { header: 'Idempotency-Key' })
    return undefined
  }
  const id = derivedId('gateway', principal?.tenant ?? '', principal?.id ?? '', plan.method, plan.pattern.text, plan.target.type, key)
  return { key, id, fingerprint: fingerprintOfData([plan.contract.version, data]) }
}

/**
 * Makes a request once, and gives its answer to every repetition (draft-ietf-httpapi-idempotency-key-header).
 *
 * @throws `gateway.key_reused`, `gateway.key_in_progress`, and what `run` throws where the outcome is not known.
 */
export async function runOnce(keys: IdempotencyKeys, request: KeyedRequest, logger: Logger, run: () => Promise<Ended>): Promise<Response> {
  const { id, key, fingerprint } = request
  const begun = await keys.begin(id, fingerprint)
  if (begun.kind === 'reused') throw new TrunklineError('gateway.key_reused', { key })
  if (begun.kind === 'in-progress') throw new TrunklineError('gateway.key_in_progress', { key })
  if (begun.kind === 'answered') return responseOf(begun.response)
  try {
    const { response, isKnown } = await run()
    if (!isKnown) {
      await forgotten(keys, request, logger)
      return response
    }
    const kept = await keptOf(response)
    // The command was handled; an answer that cannot be kept is given nevertheless.
    await keys.finish(id, fingerprint, kept).catch((error: unknown) => logger.warn({ err: error }, 'the answer of an idempotency key could not be kept'))
    return responseOf(kept, false)
  } catch (error) {
    await forgotten(keys, request, logger)
    // The service's inbox knew the id with another body: a repetition after what we remembered was gone.
    if (isTrunklineError(error, 'bus.answer_failed') && error.details.code === 'outbox.id_collision') throw new TrunklineError('gateway.key_reused', { key }, { cause: error })
    throw error
  }
}

async function forgotten(keys: IdempotencyKeys, { id, fingerprint }: KeyedRequest, logger: Logger): Promise<void> {
  await keys.abandon(id, fingerprint).catch((error: unknown) => logger.warn({ err: error }, 'an idempotency key could not be given back; it is free after its lease'))
}

async function keptOf(response: Response): Promise<KeptResponse> {
  const body = response.body === null ? null : await response.text()
  return { status: response.status, headers: Object.fromEntries(response.headers), body }
}

function responseOf({ status, headers, body }: KeptResponse, isReplayed: boolean = true): Response {
  const response = new Response(body, { status, headers: { ...headers } })
  if (isReplayed) response.headers.set(REPLAYED_HEADER, 'true')
  return response
}
