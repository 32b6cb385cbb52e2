import { z } from 'zod'
import { type AnyCommand, type AnyQuery, type Bus, command, isTrunklineError, query } from '../../src/index.ts'
import { type Gateway, type GatewayOptions, route } from '../../src/gateway/index.ts'
import { PlaceOrder, QuotePrice, Slow, requestTo } from './gateway-rig.ts'

/** Both ways to one service. */
export interface Ways {
  readonly front: Bus
  readonly gateway: (options: Pick<GatewayOptions, 'limits' | 'routes'>) => Gateway
  /** Time that a question may take. */
  readonly timeoutMs: number
  /** Lets it pass; does nothing where time passes by itself. */
  readonly passes: () => Promise<void>
}

/** What came of a question, whichever way it went. */
export type Outcome =
  | { readonly kind: 'answer'; readonly value: unknown }
  | { readonly kind: 'declared'; readonly name: string; readonly data: unknown }
  | { readonly kind: 'refused'; readonly issues: unknown }
  | { readonly kind: 'failed'; readonly code: string }

export const Dated = query('sales.last-visit', {
  request: z.object({ who: z.string() }),
  response: z.object({ at: z.codec(z.iso.datetime(), z.date(), { decode: (text) => new Date(text), encode: (date) => date.toISOString() }), note: z.string().default('none') }),
})
export const Nothing = command('sales.forget', { schema: z.object({ who: z.string() }) })

export async function overBus({ front, passes, timeoutMs }: Ways, contract: AnyQuery | AnyCommand, data: unknown): Promise<Outcome> {
  const asked = front.ask(contract as AnyQuery, data, { timeoutMs }).then((value: unknown): Outcome => ({ kind: 'answer', value: value ?? null }), (error: unknown): Outcome => {
    if (isTrunklineError(error, 'contract.declared_error')) return { kind: 'declared', name: error.details.name, data: error.details.data }
    if (isTrunklineError(error, 'contract.payload_invalid') && error.details.during === 'publish') return { kind: 'refused', issues: error.details.issues }
    return { kind: 'failed', code: isTrunklineError(error) ? error.code : 'unknown' }
  })
  await passes()
  return await asked
}

export async function overHttp({ gateway, passes, timeoutMs }: Ways, contract: AnyQuery | AnyCommand, data: unknown): Promise<Outcome> {
  const { fetch } = gateway({ limits: { timeoutMs }, routes: [route(contract, contract.kind === 'query' ? { path: '/it', method: 'POST' } : { path: '/it', answer: 'reply' })] })
  const asked = fetch(requestTo('/it', { body: data }))
  await passes()
  const response = await asked
  if (response.ok) return { kind: 'answer', value: response.status === 204 ? null : await response.json() }
  const problem = await response.json() as { readonly code: string; readonly name?: string; readonly data?: unknown; readonly issues?: unknown }
  if (problem.name !== undefined) return { kind: 'declared', name: problem.name, data: problem.data }
  return problem.issues === undefined ? { kind: 'failed', code: problem.code } : { kind: 'refused', issues: problem.issues }
}

/** What is asked both ways, and the kind of what comes of it. */
export const questions: readonly (readonly [string, AnyQuery | AnyCommand, unknown, Outcome['kind']])[] = [
  ['an answer to a query', QuotePrice, { sku: 'a', pieces: 3 }, 'answer'],
  ['an answer with defaults and without unknown fields', QuotePrice, { sku: 'a', more: true }, 'answer'],
  ['a declared error of a query', QuotePrice, { sku: 'unicorn' }, 'declared'],
  ['data that does not fit', QuotePrice, { sku: '', pieces: -1 }, 'refused'],
  ['data of another kind', QuotePrice, ['a'], 'refused'],
  ['a handler that fails', QuotePrice, { sku: 'broken' }, 'failed'],
  ['an answer that does not fit', QuotePrice, { sku: 'bad-answer' }, 'failed'],
  ['nobody who answers in time', Slow, {}, 'failed'],
  ['an answer to a command', PlaceOrder, { orderId: 'o-1', lines: [{ sku: 'a', pieces: 1 }] }, 'answer'],
  ['a declared error of a command', PlaceOrder, { orderId: 'closed' }, 'declared'],
  ['data of a command that does not fit', PlaceOrder, { orderId: 7 }, 'refused'],
  ['a command without an answer', Nothing, { who: 'ann' }, 'answer'],
  ['nobody who handles the command in time', command('sales.never', { schema: z.object({}) }), {}, 'failed'],
  ['nobody who answers the query', query('sales.nobody', { request: z.object({}), response: z.object({}) }), {}, 'failed'],
]
