import { expect, test } from 'vitest'
import { z } from 'zod'
import { type EventContract, event, query } from '../../src/index.ts'
import { type ContractDrift, ContractDriftDetected, type Directory, discovery } from '../../src/discovery/index.ts'
import { BusRig } from '../bus/bus-rig.ts'

const data = (shape: z.ZodRawShape): z.ZodObject => z.object({ orderId: z.string(), ...shape })
const placed = (shape: z.ZodRawShape, version = 1): EventContract => (version === 1 ? event('sales.order-placed', { schema: data(shape) }) : event('sales.order-placed', { schema: data(shape), version: 2, upcast: { 1: (old: unknown) => old as never } }))

interface Side {
  readonly directory: Directory
  readonly drifts: ContractDrift[]
}

async function between(rig: BusRig, sent: EventContract, taken: EventContract): Promise<readonly [Side, Side]> {
  const side = (service: string, contract: EventContract, isSender: boolean): Side & { readonly start: () => Promise<void> } => {
    const directory = discovery({ instance: `${service}-0` })
    const bus = rig.bus({ service: { name: service, version: '1.0.0' }, discovery: directory, ...(isSender ? { contracts: [contract] } : {}) })
    if (!isSender) bus.on(contract, { group: 'work' }, () => {})
    const drifts: ContractDrift[] = []
    directory.watch((one) => {
      if (one.kind === 'contract-drift') drifts.push(one.drift)
    })
    return { directory, drifts, start: () => bus.start() }
  }
  const sides = [side('shop', sent, true), side('ledger', taken, false)] as const
  for (const one of sides) await one.start()
  await rig.clock.advance(2_000)
  return sides
}

test('both sides learn which field of which contract does not fit, before a message is sent', async () => {
  await using rig = new BusRig()
  const told: ContractDrift[] = []
  const watching = rig.bus({ service: { name: 'watching' } }).on(ContractDriftDetected, { broadcast: true }, ({ data: drift }) => void told.push(drift))
  await watching.start()
  const sides = await between(rig, placed({ total: z.string() }), placed({ total: z.number(), currency: z.string() }))
  for (const { drifts } of sides) {
    expect(drifts).toHaveLength(1)
    expect(drifts[0]).toMatchObject({
      type: 'sales.order-placed', part: 'data', sender: { service: 'shop', instance: 'shop-0', contractVersion: 1 }, receiver: { service: 'ledger', instance: 'ledger-0', contractVersion: 1 },
      problems: [{ path: 'currency', problem: 'the receiver needs it and the sender does not know it' }, { path: 'total', problem: 'it is sent as string and taken as number' }],
    })
  }
  expect(told.length).toBeGreaterThanOrEqual(1)
})

test('what differs and still fits is no drift', async () => {
  await using rig = new BusRig()
  const sides = await between(rig, placed({ total: z.int(), note: z.string() }), placed({ total: z.number() }))
  expect(sides.flatMap(({ drifts }) => drifts)).toEqual([])
})

test('a version that the receiver does not know is drift, and one that it lifts is none', async () => {
  await using rig = new BusRig()
  const newer = await between(rig, placed({ total: z.int() }, 2), placed({}))
  expect(newer[0].drifts).toMatchObject([{ problems: [{ path: '', problem: 'version 2 is sent, and the receiver knows versions up to 1' }] }])
  await using other = new BusRig()
  const older = await between(other, placed({}), placed({ total: z.int().default(0) }, 2))
  expect(older.flatMap(({ drifts }) => drifts)).toEqual([])
})

test('an answer that the asker cannot read is drift of the reply', async () => {
  await using rig = new BusRig()
  const quote = (cents: z.ZodType) => query('pricing.quote', { request: z.object({ sku: z.string() }), response: z.object({ cents }) })
  const asker = discovery({ instance: 'asker' })
  const drifts: ContractDrift[] = []
  asker.watch((one) => one.kind === 'contract-drift' && drifts.push(one.drift))
  const answering = rig.bus({ service: { name: 'pricing' }, discovery: discovery({ instance: 'answerer' }) }).answer(quote(z.string()), () => ({ cents: '1' }))
  const asking = rig.bus({ service: { name: 'shop' }, discovery: asker, contracts: [quote(z.int())] })
  await Promise.all([answering.start(), asking.start()])
  await rig.clock.advance(2_000)
  expect(drifts).toMatchObject([{ part: 'reply', sender: { instance: 'answerer' }, receiver: { instance: 'asker' }, problems: [{ path: 'cents', problem: 'it is sent as string and taken as integer' }] }])
})

test('a hundred instances with the same difference are compared once', async () => {
  await using rig = new BusRig()
  const sides = await between(rig, placed({ total: z.string() }), placed({ total: z.number() }))
  for (let index = 1; index <= 5; index++) {
    const bus = rig.bus({ service: { name: 'ledger' }, discovery: discovery({ instance: `ledger-${index}` }) }).on(placed({ total: z.number() }), { group: 'work' }, () => {})
    await bus.start()
  }
  await rig.clock.advance(10_000)
  expect(sides[0].drifts).toHaveLength(1)
})
