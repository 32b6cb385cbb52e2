import { afterEach, beforeEach, expect, test } from 'vitest'
import type { DeadLetterPlane, DeadLetterRecord, Transport } from '../../../src/bus/port.ts'
import { fullWireMessage } from '../wire-messages.ts'
import { Inbox, Workplace, command, event, group, publish, until } from './sqlite-rig.ts'

let place: Workplace
beforeEach(() => {
  place = new Workplace()
})
afterEach(() => place.clean())

function record(reason = 'bus.handler_failed'): DeadLetterRecord {
  return {
    reason,
    errors: [{ name: 'TypeError', message: 'größer', code: 'E_X', stack: 'TypeError: …\n  at x' }, { name: 'Error', message: 'cause' }],
    attempts: 5, handler: 'a handler', service: 'tests', instance: 'one', at: '2026-01-02T03:04:05.678Z',
  }
}

function plane(transport: Transport): DeadLetterPlane {
  if (transport.deadLetters === undefined) throw new Error('no dead letters')
  return transport.deadLetters
}

/** Publishes and gives everything up. */
async function giveUp(transport: Transport, count: number, reason?: string): Promise<void> {
  const subscription = await transport.subscribe(group(), (delivery) => void delivery.deadLetter(record(reason)))
  const before = place.count('SELECT count(*) FROM trunkline_dead_letter')
  await publish(transport, ...Array.from({ length: count }, () => event()))
  await until(() => place.count('SELECT count(*) FROM trunkline_dead_letter') === before + count)
  await subscription.close()
}

test('keeps attributes, bytes and the whole record', async () => {
  const transport = await place.transport()
  const inbox = new Inbox()
  await transport.subscribe(group(), inbox.sink)
  const message = fullWireMessage({ body: Buffer.from([123, 0, 200, 125]) })
  await publish(transport, { kind: 'event', message })
  await (await inbox.next()).deadLetter(record())
  const [item] = (await plane(transport).list({}, { limit: 10 })).items
  expect(item).toMatchObject({ group: 'tests.group', kind: 'event', holdsKey: false })
  expect(item?.record).toStrictEqual(record())
  expect({ ...item?.message, body: Buffer.from(item?.message.body ?? []) }).toStrictEqual(message)
  expect(await plane(transport).read(item?.id ?? '')).toStrictEqual(item)
})

test('lists in pages, oldest first, and a hundred listings lose none', async () => {
  const transport = await place.transport()
  await giveUp(transport, 25)
  for (let round = 0; round < 100; round++) {
    const ids: string[] = []
    let after: string | undefined
    do {
      const page = await plane(transport).list({}, { limit: 10, after })
      ids.push(...page.items.map((each) => each.id))
      after = page.next
    } while (after !== undefined)
    expect(ids).toHaveLength(25)
    expect(ids.map(Number)).toStrictEqual(ids.map(Number).toSorted((a, b) => a - b))
  }
})

test('filters by group, type and reason', async () => {
  const transport = await place.transport()
  await giveUp(transport, 2, 'bus.attempts_exhausted')
  await giveUp(transport, 1, 'contract.payload_invalid')
  await transport.subscribe(group({ kind: 'command', group: 'tests.do-thing', types: ['tests.do-thing'] }), (delivery) => void delivery.deadLetter(record()))
  await publish(transport, command())
  await until(() => place.count('SELECT count(*) FROM trunkline_dead_letter') === 4)
  const count = async (filter: object): Promise<number> => (await plane(transport).list(filter, { limit: 10 })).items.length
  expect(await count({})).toBe(4)
  expect(await count({ group: 'tests.group' })).toBe(3)
  expect(await count({ type: 'tests.do-thing' })).toBe(1)
  expect(await count({ reason: 'contract.payload_invalid' })).toBe(1)
  expect(await count({ group: 'tests.group', reason: 'bus.handler_failed' })).toBe(0)
})

test('redrives a dead letter as attempt 1 of the same message, once', async () => {
  const transport = await place.transport()
  await giveUp(transport, 1)
  const [item] = (await plane(transport).list({}, { limit: 1 })).items
  const inbox = new Inbox()
  await transport.subscribe(group(), inbox.sink)
  expect(await plane(transport).redrive(item?.id ?? '')).toBe(true)
  expect(await plane(transport).redrive(item?.id ?? '')).toBe(false)
  const again = await inbox.next()
  expect([again.message.id, again.attempt, again.isSuspect, again.isRedriven]).toStrictEqual([item?.message.id, 1, false, true])
  await again.retry(0)
  expect((await inbox.next()).isRedriven).toBe(true)
  expect(await plane(transport).read(item?.id ?? '')).toBeUndefined()
})

test('removes a dead letter with its message', async () => {
  const transport = await place.transport()
  await giveUp(transport, 1)
  const [item] = (await plane(transport).list({}, { limit: 1 })).items
  expect(await plane(transport).remove(item?.id ?? '')).toBe(true)
  expect(await plane(transport).remove(item?.id ?? '')).toBe(false)
  expect(place.count('SELECT count(*) FROM trunkline_message')).toBe(0)
})

test('knows nothing of ids that are not its own', async () => {
  const transport = await place.transport()
  for (const id of ['', '7', 'x', '-1', '1e3', '99999999999999999999', "1' OR 1"]) {
    expect(await plane(transport).read(id)).toBeUndefined()
    expect(await plane(transport).redrive(id)).toBe(false)
    expect(await plane(transport).remove(id)).toBe(false)
  }
  await expect(plane(transport).list({}, { limit: 1, after: 'x' })).rejects.toMatchObject({ code: 'core.option_invalid' })
})
