import { describe, expect, test } from 'vitest'
import type { UnitOutcome, UnitRequest } from '../../src/bus/port.ts'
import { UnitBatcher } from '../../src/saga/unit-batcher.ts'
import { VirtualClock } from '../../src/testing/virtual-clock.ts'
import { Gate } from '../bus/bus-rig.ts'

function request(group: string): UnitRequest {
  return { group, message: { id: group, source: '/test', type: 'test.thing', version: 1, body: Buffer.from('{}'), time: '', correlationId: '', hops: 0 } as never, isRedriven: false, signal: new AbortController().signal, work: () => undefined, encodeAnswer: undefined }
}

/** A store that says what it was asked for, and answers when it is let. */
class SlowStore {
  readonly batches: string[] = []
  readonly gates: Gate[] = []

  run = (one: UnitRequest): Promise<UnitOutcome> => this.runMany([one]).then(([outcome]) => outcome ?? { kind: 'failed', error: 'none' })

  runMany = async (requests: readonly UnitRequest[]): Promise<readonly UnitOutcome[]> => {
    this.batches.push(requests.map(({ group }) => group).join(' '))
    const gate = new Gate()
    this.gates.push(gate)
    await gate.opened
    return requests.map(({ group }) => ({ kind: 'done', value: group }))
  }
}

describe('units of different instances', () => {
  test('share a transaction where they come together, and the next one while two are under way; each gets its own outcome', async () => {
    const store = new SlowStore()
    const clock = new VirtualClock()
    const batcher = new UnitBatcher(store)
    const run = (...groups: readonly string[]): Promise<UnitOutcome>[] => groups.map((group) => batcher.run(request(group), clock))
    const outcomes = run('a', 'b')
    await clock.settle()
    outcomes.push(...run('c'))
    await clock.settle()
    outcomes.push(...run('d'))
    await clock.settle()
    outcomes.push(...run('e'))
    await clock.settle()
    expect(store.batches).toEqual(['a b', 'c'])
    store.gates[0]?.open()
    await clock.settle()
    expect(store.batches).toEqual(['a b', 'c', 'd e'])
    for (const gate of store.gates) gate.open()
    expect((await Promise.all(outcomes)).map((outcome) => outcome.kind === 'done' && outcome.value)).toEqual(['a', 'b', 'c', 'd', 'e'])
  })

  test('fail where the store refuses to begin, and the next ones are run all the same', async () => {
    let isClosed = true
    const store = new SlowStore()
    const batcher = new UnitBatcher({
      run: (one) => {
        if (isClosed) throw new Error('closed')
        return store.run(one)
      },
      runMany: store.runMany,
    })
    const clock = new VirtualClock()
    const refused = batcher.run(request('a'), clock)
    await clock.settle()
    expect(await refused).toMatchObject({ kind: 'failed' })
    isClosed = false
    const outcome = batcher.run(request('b'), clock)
    await clock.settle()
    store.gates[0]?.open()
    expect(await outcome).toEqual({ kind: 'done', value: 'b' })
  })
})
