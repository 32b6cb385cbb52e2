import { expect, test } from 'vitest'
import { z } from 'zod'
import { type AnyCommand, type AnyQuery, TrunklineError, command, isTrunklineError, query } from '../../src/index.ts'
import { route } from '../../src/gateway/index.ts'
import { GatewayRig, PlaceOrder, QuotePrice, Slow, requestTo } from './gateway-rig.ts'

/** What came of a question, whichever way it went. */
type Outcome =
  | { readonly kind: 'answer'; readonly value: unknown }
  | { readonly kind: 'declared'; readonly name: string; readonly data: unknown }
  | { readonly kind: 'refused'; readonly issues: unknown }
  | { readonly kind: 'failed'; readonly code: string }

const Dated = query('sales.last-visit', {
  request: z.object({ who: z.string() }),
  response: z.object({ at: z.codec(z.iso.datetime(), z.date(), { decode: (text) => new Date(text), encode: (date) => date.toISOString() }), note: z.string().default('none') }),
})
const Nothing = command('sales.forget', { schema: z.object({ who: z.string() }) })

async function overBus(rig: GatewayRig, contract: AnyQuery | AnyCommand, data: unknown): Promise<Outcome> {
  const asked = rig.front.ask(contract as AnyQuery, data, { timeoutMs: 2_000 }).then((value: unknown): Outcome => ({ kind: 'answer', value: value ?? null }), (error: unknown): Outcome => {
    if (isTrunklineError(error, 'contract.declared_error')) return { kind: 'declared', name: error.details.name, data: error.details.data }
    if (isTrunklineError(error, 'contract.payload_invalid') && error.details.during === 'publish') return { kind: 'refused', issues: error.details.issues }
    return { kind: 'failed', code: isTrunklineError(error) ? error.code : 'unknown' }
  })
  await rig.settled()
  await rig.clock.advance(2_000)
  return await asked
}

async function overHttp(rig: GatewayRig, contract: AnyQuery | AnyCommand, data: unknown): Promise<Outcome> {
  const { fetch } = rig.gateway({ limits: { timeoutMs: 2_000 }, routes: [route(contract, contract.kind === 'query' ? { path: '/it', method: 'POST' } : { path: '/it', answer: 'reply' })] })
  const asked = fetch(requestTo('/it', { body: data }))
  await rig.settled()
  await rig.clock.advance(2_000)
  const response = await asked
  if (response.ok) return { kind: 'answer', value: response.status === 204 ? null : await response.json() }
  const problem = await response.json() as { readonly code: string; readonly name?: string; readonly data?: unknown; readonly issues?: unknown }
  if (problem.name !== undefined) return { kind: 'declared', name: problem.name, data: problem.data }
  return problem.issues === undefined ? { kind: 'failed', code: problem.code } : { kind: 'refused', issues: problem.issues }
}

test.each<readonly [string, AnyQuery | AnyCommand, unknown, Outcome['kind']]>([
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
])('over HTTP and over the bus %s is the same', async (_what, contract, data, kind) => {
  await using rig = new GatewayRig()
  rig.service.handle(Nothing, (message) => rig.note(message, undefined))
  await rig.started()
  const [bus, http] = [await overBus(rig, contract, data), await overHttp(rig, contract, data)]
  expect(bus.kind).toBe(kind)
  expect(http).toEqual(bus)
  const [first, second] = rig.seen
  expect(second?.data).toEqual(first?.data)
})

test('an answer that changes types on the way goes out as it travels on the bus', async () => {
  await using rig = new GatewayRig()
  rig.service.answer(Dated, () => ({ at: '2026-01-02T03:04:05.000Z' }))
  await rig.started()
  expect(await rig.front.ask(Dated, { who: 'ann' })).toEqual({ at: new Date('2026-01-02T03:04:05.000Z'), note: 'none' })
  expect(await overHttp(rig, Dated, { who: 'ann' })).toEqual({ kind: 'answer', value: { at: '2026-01-02T03:04:05.000Z' } })
})

test('an answer that is no JSON is the fault of the service', async () => {
  await using rig = await new GatewayRig().started()
  const { fetch } = rig.gateway({ bus: brokenBus(rig) })
  const response = await fetch(requestTo('/pricing/quote-price?sku=a'))
  expect([response.status, await response.json()]).toMatchObject([502, { code: 'bus.answer_failed' }])
})

/** A bus whose answers cannot be read. */
function brokenBus(rig: GatewayRig): GatewayRig['front'] {
  return new Proxy(rig.front, {
    get: (bus, name) => {
      if (name === 'ask') return () => Promise.reject(new TrunklineError('contract.body_malformed', { type: 'a.b', problem: 'not JSON' }))
      const value: unknown = Reflect.get(bus, name, bus)
      return typeof value === 'function' ? value.bind(bus) : value
    },
  })
}
